"""The convex cones of the conic form: projections onto them, and their derivatives.

Kinds and coordinates are those of `optlayers.compiler.conic_form.Cone`. All functions take points ``(*batch, k)``, in
single or double precision, and are finite for all finite points. The exponent `alpha` of power cones is between 0 and
1, and broadcasts to ``(*batch,)``; it is of no effect for other kinds.
"""

from torch import Tensor

from optlayers.cones import exponential, power, second_order, semidefinite
from optlayers.cones.common import attach

_CONES = {"soc": second_order, "psd": semidefinite, "exp": exponential}


def project(kind: str, alpha: float | Tensor, z: Tensor) -> Tensor:
    """``argmin_{s in K} ||s - z||``; use `member` for derivatives."""
    return power.project(z, alpha) if kind == "pow" else _CONES[kind].project(z)


def jacobian(kind: str, alpha: float | Tensor, z: Tensor) -> Tensor:
    """Return an element of the Clarke Jacobian of `project`, ``(*batch, k, k)``, without derivatives.

    It is symmetric, with eigenvalues between 0 and 1.
    """
    return power.jacobian(z, alpha) if kind == "pow" else _CONES[kind].jacobian(z)


def member(kind: str, alpha: float | Tensor, z: Tensor) -> Tensor:
    """Return `project` with first derivatives, those of `jacobian`, in both modes and under `torch.func.vmap`."""
    if kind == "soc":
        return second_order.project(z)
    if kind == "psd":
        return semidefinite.member(z)
    return attach(project(kind, alpha, z), jacobian(kind, alpha, z), z)


__all__ = ["jacobian", "member", "project"]
