"""Values: what is to be computed, with what operands and options, and the errors that say why not."""
