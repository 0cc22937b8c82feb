"""The derivative that the compiled core knows of its answers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from optlayers.autograd.torch_internals import may_be_batched
from optlayers.autograd.tracing import is_traced
from optlayers.solvers import core
from optlayers.solvers.core import Samples

Expansion = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def attach_by_core(samples: Samples, x: Tensor, y: Tensor, expand: Expansion) -> Tensor:
    """Return points `x` as a function of the samples' data, in reverse mode.

    ``expand(v, matrix, lower, upper)`` is the same function as torch operations. It serves derivatives of derivatives,
    batches of gradients, and samples whose derivative the core does not know.
    """
    return _ByCore.apply(samples.structure, expand, x, y, samples.v, samples.matrix, samples.lower, samples.upper)


class _ByCore(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, structure: Any, expand: Expansion, x: Tensor, y: Tensor, *data: Tensor) -> Tensor:
        ctx.structure, ctx.expand = structure, expand
        ctx.save_for_backward(x, y, *data)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, y, *data = ctx.saved_tensors
        needed, again = ctx.needs_input_grad[4:], torch.is_grad_enabled()
        if not (again or is_traced() or may_be_batched(gradient)):
            samples, (_, matrix, *bounds) = Samples(ctx.structure, *data), needed
            results, is_known = core.pull(samples, x, y, gradient, wants_matrix=matrix, wants_bounds=any(bounds))
            if is_known:
                return None, None, None, None, *results
        with torch.enable_grad():
            leaves = [
                t.view_as(t) if again else t.detach().requires_grad_(need) for t, need in zip(data, needed, strict=True)
            ]
            wanted = [leaf for leaf, need in zip(leaves, needed, strict=True) if need]
            result = torch.autograd.grad(ctx.expand(*leaves), wanted, gradient, create_graph=again, allow_unused=True)
        gradients = iter(result)
        return None, None, None, None, *(next(gradients) if need else None for need in needed)
