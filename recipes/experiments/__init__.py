"""What each script runs: the facts of a benchmark, or an experiment of several trainings."""
