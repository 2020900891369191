"""What a run leaves on the disk, as values. Everything else reads results here."""
