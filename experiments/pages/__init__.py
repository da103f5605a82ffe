"""Tables, plots, cards and W&B views."""
