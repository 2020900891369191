"""What a run's folder looks like to people: page, tables, index of runs. Of the suite it reads benchmarks.results and nothing else."""
