"""The 15 networks: as data (specs), as Flax modules, and the geometry that follows from the data."""
