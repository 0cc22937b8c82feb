"""Tensors that are maps of free parameters into a set."""
