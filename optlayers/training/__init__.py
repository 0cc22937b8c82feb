"""Constrained training: the same sets held by projected optimizers, reparametrization, penalties or multipliers."""
