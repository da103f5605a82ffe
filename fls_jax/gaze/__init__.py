"""Saliency scored against human gaze from Atari-HEAD."""
