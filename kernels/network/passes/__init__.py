"""What brings a graph to the form that runs: one idea a file."""
