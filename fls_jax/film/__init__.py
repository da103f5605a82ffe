"""Clips of an agent at play, with its saliency."""
