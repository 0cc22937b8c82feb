"""The general solver: batched methods for the nearest point of any convex set, and the residual that judges them."""
