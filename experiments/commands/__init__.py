"""The commands of `make` and `python -m`."""
