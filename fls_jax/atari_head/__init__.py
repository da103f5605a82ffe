"""Atari-HEAD, human play with gaze: archives, metadata, gaze files, trials, pictures. It needs no agent."""
