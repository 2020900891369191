"""The machine a run happens on: what it is, what it can do at most, what a cell takes of it."""
