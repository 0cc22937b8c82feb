"""Numbers and sets that follow the training."""
