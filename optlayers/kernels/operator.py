"""Projections as operators: inside compiled graphs they run as in eager mode, by kernels where these serve."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, library

from optlayers.autograd.batched_operator import define
from optlayers.autograd.torch_internals import is_transformed, traced_as_constant
from optlayers.kernels import cpu, gpu
from optlayers.kernels.dispatch import as_rows
from optlayers.kernels.fused import rows_of

Projection = Callable[..., tuple[Tensor, Tensor]]


def define_projection(
    family: str, name: str, data: dict[str, int], vectors: int, project: Projection, pull: Callable[..., Tensor]
) -> Projection:
    """Define ``optlayers::name`` and its derivative in the points, and return it.

    Parameters
    ----------
    family : str
        The module of kernels, with a ``pull``.
    name : str
    data : dict
        The set's data as `define` takes arguments, vectors before numbers; no derivative reaches them.
    vectors : int
        How many of the data are vectors; the derivative depends on no others.
    project : callable
        From points ``(*batch, n)`` and the data to the projection and whether each sample's number is at its bound,
        ``(*batch,)``.
    pull : callable
        The plain form of the derivative: from the gradient, the two results and the vectors.
    """

    @torch.no_grad()
    def run(*tensors: Tensor | None) -> tuple[Tensor, Tensor]:
        y, tight = project(*tensors)
        return y.contiguous(), tight.contiguous()

    def backward(gradient: Tensor, y: Tensor, tight: Tensor, *parts: Tensor | None) -> Tensor:
        rows = rows_of(family, gradient, *parts)
        if rows is None:
            return pull(gradient, y, tight, *parts).contiguous()
        return rows.batched(rows.kernels.pull(rows.points, as_rows(y, rows.batch), tight.reshape(-1), *rows.vectors))

    def setup_context(ctx: Any, inputs: tuple[Tensor | None, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*output, *inputs[1 : 1 + vectors])

    def derivative(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        return pull_operator(gradient, *ctx.saved_tensors), *[None] * len(data)

    events = dict(list(data.items())[:vectors])
    operator = define(name, {"v": 1, **data}, run, lambda n: [((n,), None), ((), torch.bool)])
    pull_operator = define(
        f"{name}_pull", {"gradient": 1, "y": 1, "tight": 0, **events}, backward, lambda n: [((n,), None)]
    )
    library.register_autograd(f"optlayers::{name}", derivative, setup_context=setup_context)

    def projection(v: Tensor, *data: Tensor | None) -> tuple[Tensor, Tensor]:
        widths = (1,) * vectors + (0,) * (len(data) - vectors)
        shapes = [t.shape[: t.ndim - width] for t, width in zip(data, widths, strict=True) if t is not None]
        return operator(v.expand(*torch.broadcast_shapes(v.shape[:-1], *shapes), v.shape[-1]), *data)

    return projection


def serves(v: Tensor, *data: Tensor | None) -> bool:
    """Whether operators should be used: in compiled graphs, where kernels may pay and no data has derivatives."""
    if not torch.compiler.is_compiling() or v.device.type not in ("cpu", "cuda"):
        return False
    if torch.is_grad_enabled() and any(t.requires_grad for t in data if t is not None):
        return False
    return _is_plain_graph(v.device.type)


@traced_as_constant
def _is_plain_graph(device: str) -> bool:
    """Whether kernels are installed, and no transform of `torch.func` is at work while a graph is made."""
    return (cpu if device == "cpu" else gpu).is_installed() and not is_transformed()
