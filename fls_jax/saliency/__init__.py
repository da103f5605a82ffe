"""Saliency: what of the observation mattered to the agent. Maps are float32 [B, 84, 84], not normalised."""
