"""What an accelerator does for training, measured inside a time limit."""
