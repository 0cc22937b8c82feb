"""The laws that every projection must obey; each takes a case and raises AssertionError."""

from optlayers.testing import derivative_laws, projection_laws, reference_laws, tensor_laws
from optlayers.testing.law import LAWS, Law, laws_for

__all__ = ["LAWS", "Law", "derivative_laws", "laws_for", "projection_laws", "reference_laws", "tensor_laws"]
