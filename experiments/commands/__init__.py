"""What `make` and `python -m` run."""
