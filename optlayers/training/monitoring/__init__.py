"""What is recorded, said and drawn of constrained training."""
