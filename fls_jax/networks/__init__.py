"""The networks: as data (specs), as Flax modules, their geometry, and what stands in for their attention."""
