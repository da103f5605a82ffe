"""Weights & Biases: the only place that imports wandb."""
