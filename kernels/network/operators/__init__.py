"""What every operator of a graph does: shapes and dtypes it gives, and its arithmetic in NumPy."""
