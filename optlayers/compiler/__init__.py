"""From CVXPY constraints to one conic form, simplified."""
