"""What the methods share: register tiles, post-ops, packing, transposes, records and launcher."""
