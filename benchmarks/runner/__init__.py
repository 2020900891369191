"""Running cells: order, passes, one cell, the pytest plugin, resuming, and what would spoil a run."""
