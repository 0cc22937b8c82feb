"""Optimizers whose iterates are projected onto their sets, or never leave them."""
