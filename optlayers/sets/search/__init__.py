"""The searches of the closed forms for their combinatorial parts, as custom operators on batches."""
