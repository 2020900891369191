"""The pictures, one file each: what it shows, the values it shows, and how Matplotlib draws them, for the page and for files."""
