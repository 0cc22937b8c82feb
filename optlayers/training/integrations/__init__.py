"""Callbacks and constraints for other libraries: Lightning, Transformers, Cooper, torch.distributions."""
