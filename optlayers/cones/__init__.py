"""The convex cones of the conic form: projections onto them, and their derivatives.

Kinds and coordinates are those of `optlayers.compiler.conic_form.Cone`. All functions take points ``(*batch, k)``, in
single or double precision, and are finite for all finite points.
"""

from __future__ import annotations

from torch import Tensor

from optlayers.cones import exponential, power, second_order, semidefinite
from optlayers.cones.common import attach

_CONES = {"soc": second_order, "psd": semidefinite, "exp": exponential}


def project(kind: str, alpha: float | Tensor, z: Tensor) -> Tensor:
    """``argmin_{s in K} ||s - z||``; use `member` for derivatives.

    Parameters
    ----------
    kind : {"soc", "psd", "exp", "pow"}
    alpha : float or Tensor that broadcasts to (*batch,)
        The exponent of a power cone, between 0 and 1; of no effect for other kinds.
    z : Tensor, shape (*batch, k)

    Returns
    -------
    Tensor, shape (*batch, k)
    """
    return power.project(z, alpha) if kind == "pow" else _CONES[kind].project(z)


def jacobian(kind: str, alpha: float | Tensor, z: Tensor) -> Tensor:
    """Return an element of the Clarke Jacobian of `project`: symmetric, with eigenvalues between 0 and 1.

    Parameters
    ----------
    kind, alpha, z
        As for `project`.

    Returns
    -------
    Tensor, shape (*batch, k, k)
        Without derivatives.
    """
    return power.jacobian(z, alpha) if kind == "pow" else _CONES[kind].jacobian(z)


def member(kind: str, alpha: float | Tensor, z: Tensor) -> Tensor:
    """Return `project`, with first derivatives in `z`, those of `jacobian`, in both modes and under `torch.func.vmap`.

    Parameters
    ----------
    kind, alpha, z
        As for `project`.

    Returns
    -------
    Tensor, shape (*batch, k)
    """
    if kind == "soc":
        return second_order.project(z)
    if kind == "psd":
        return semidefinite.member(z)
    return attach(project(kind, alpha, z), jacobian(kind, alpha, z), z)


__all__ = ["jacobian", "member", "project"]
