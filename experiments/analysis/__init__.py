"""Turns run folders into tidy tables and comparisons."""
