"""A whole experiment as jobs: planned, run on this machine or by Slurm, watched, never run twice."""
