"""Layers with integer and boolean outputs."""
