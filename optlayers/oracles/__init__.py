"""What a set offers besides its projection: linear minimisation, other metrics, smooth maps, integer points."""
