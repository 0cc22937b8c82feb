"""Compiled loops for the CPU (numba, an optional dependency)."""
