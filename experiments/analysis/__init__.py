"""Run folders to tidy tables and comparisons."""
