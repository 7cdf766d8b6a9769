"""Ways to secure elements that lead through no device of somebody else."""
