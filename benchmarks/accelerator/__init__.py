"""Measures training on an accelerator within a time limit."""
