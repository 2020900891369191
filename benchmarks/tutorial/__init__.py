"""The tutorial: one page that lets a reader see, touch and hear what convolution does to music, every number computed by the library."""
