"""The networks: as data (specs), as Flax modules, their geometry, and replacements of their attention."""
