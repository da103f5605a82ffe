"""A run as a folder: names, record, checkpoints, provenance, files."""
