"""Every saliency method on the same frames of an agent's own games: faithfulness, objects, sanity, use."""
