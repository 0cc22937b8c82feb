"""Constraints as terms of the loss: penalties, multipliers, augmented Lagrangians."""
