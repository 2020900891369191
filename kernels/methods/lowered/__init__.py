"""Problems that are lowered to others: transposed convolutions, three axes, adaptive pools."""
