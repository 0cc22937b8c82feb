"""Methods to compare with: cvxpylayers, and Dykstra's alternating projections."""
