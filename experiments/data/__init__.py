"""Experiments and styles as data."""
