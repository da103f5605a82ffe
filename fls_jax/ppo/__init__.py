"""Proximal policy optimisation: losses, update, actor, sharding, trainer. Arrays and devices, no files."""
