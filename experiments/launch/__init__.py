"""Runs a whole experiment as jobs on this machine or Slurm, without repeating finished work."""
