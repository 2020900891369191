"""The page's words, each in a sentence, and where to read on."""

GLOSSARY = {
    "activation": "A number that a layer puts out, or the function that bends it, such as cutting off what is negative.",
    "bias": "One number that a filter adds to all of its outputs: the threshold at which it begins to fire.",
    "channel": "One of several maps of the same size: a layer reads K of them and writes J.",
    "convolution": "Reverse a kernel, slide it over a signal, and note the sum of products at each place.",
    "cross-correlation": "The same without the reversal. Neural networks do this and call it convolution.",
    "depthwise": "With as many groups as channels: each channel has a kernel of its own and meets no other.",
    "dilation": "The distance from tap to tap. At 2, every other input is skipped.",
    "equivariant": "Moves with its input: a later note gives a later output, which is otherwise the same.",
    "feature map": "What one filter makes of the whole input; also called output channel.",
    "filter": "K kernels and a bias, which together make one output channel.",
    "frame": "One column of a spectrogram: a short stretch of sound.",
    "group": "A set of channels that is convolved by itself.",
    "hop": "The samples from one frame to the next.",
    "invariant": "Does not notice a move. Pooling makes a little of it, global pooling much.",
    "kernel": "The small array of weights that slides over one channel.",
    "log-mel": "Loudness in decibels, in bands that are spaced as the ear spaces them.",
    "padding": "Zeros around the input, so that windows can reach over its edge.",
    "pooling": "Puts one number, the largest or the mean, in the place of a window of them.",
    "receptive field": "The part of the input that one output depends on.",
    "stride": "How far the window moves from one output to the next.",
    "tap": "One weight of a kernel.",
    "transposed": "Turned round: each input paints a scaled kernel into the output, which grows.",
}

LINKS = (
    (
        "Chris Olah: Understanding Convolutions",
        "https://colah.github.io/posts/2014-07-Understanding-Convolutions/",
        "from probability, with falling balls",
    ),
    (
        "Chris Olah: Conv Nets, A Modular Perspective",
        "https://colah.github.io/posts/2014-07-Conv-Nets-Modular/",
        "networks as small functions used again and again",
    ),
    (
        "Irhum Shafkat: Intuitively Understanding Convolutions for Deep Learning",
        "https://towardsdatascience.com/intuitively-understanding-convolutions-for-deep-learning-1f6f42faee1",
        "images, animated, channel by channel",
    ),
    (
        "Kunlun Bai: Types of Convolutions in Deep Learning",
        "https://towardsdatascience.com/a-comprehensive-introduction-to-different-types-of-convolutions-in-deep-learning-669281e58215",
        "every kind, drawn",
    ),
    ("Polo Club: CNN Explainer", "https://poloclub.github.io/cnn-explainer/", "a trained image classifier to look into"),
    (
        "Dumoulin and Visin: A guide to convolution arithmetic",
        "https://arxiv.org/abs/1603.07285",
        "sizes, strides, transposed layers",
    ),
    (
        "Araujo, Norris, Sim: Computing Receptive Fields",
        "https://distill.pub/2019/computing-receptive-fields/",
        "the formulas of section 7 derived",
    ),
    (
        "Choi, Fazekas, Cho, Sandler: A Tutorial on Deep Learning for Music Information Retrieval",
        "https://arxiv.org/abs/1709.04396",
        "where music comes in",
    ),
)
