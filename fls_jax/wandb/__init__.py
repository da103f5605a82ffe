"""Weights & Biases. No other package imports wandb."""
