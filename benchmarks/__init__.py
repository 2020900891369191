"""The suite: many contenders in front of many convolution and pooling problems of music models, checked, timed, kept."""
