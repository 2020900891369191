"""How each method cuts a problem into jobs and blocks that fit caches and registers, and what it estimates that to cost, in cycles."""
