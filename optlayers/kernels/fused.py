"""A projection by fused kernels: its points and data as rows, and its answer as a function of the points."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from optlayers.autograd.batched_operator import batch_shape
from optlayers.autograd.follow import follow
from optlayers.autograd.torch_internals import may_be_batched
from optlayers.autograd.tracing import is_traced
from optlayers.kernels.dispatch import as_data, as_rows, find

Formula = Callable[..., Tensor]


@dataclass(frozen=True, eq=False)
class FusedCall:
    """What kernels take of a projection.

    Attributes
    ----------
    kernels : module
        Of the family, with ``project(points, ...)`` and ``pull(gradient, *saved, *data)``.
    batch : torch.Size
    leaf : Tensor, shape (rows, n)
        The points, with their derivatives.
    vectors : tuple of (Tensor, shape (rows or a divisor, n), or None)
    numbers : tuple of (Tensor, shape (rows or a divisor,), or None)
    """

    kernels: ModuleType
    batch: torch.Size
    leaf: Tensor
    vectors: tuple[Tensor | None, ...]
    numbers: tuple[Tensor | None, ...]

    @property
    def points(self) -> Tensor:
        return self.leaf.detach()

    def batched(self, tensor: Tensor) -> Tensor:
        """Return one entry a row, or several, in the batch's shape."""
        return tensor.view((*self.batch, *tensor.shape[1:]))

    def answer(
        self, y: Tensor, formula: Formula, saved: tuple[Tensor, ...], data: tuple[Tensor | None, ...] = ()
    ) -> Tensor:
        """Return the kernels' result, ``(*batch, n)``, as a function of the points.

        Its derivative, a symmetric map, is the kernels' ``pull(gradient, *saved, *data)``. Second derivatives and
        batches of gradients take the plain ``formula(gradient, *saved)``, which gets all in the batch's shape, and a
        gradient of a half type in float32.
        """
        if self.leaf.requires_grad and torch.is_grad_enabled():
            derivative = functools.partial(_derivative, self.kernels, formula, self.batch, data)
            y = follow(y, self.leaf, derivative, *saved)
        return self.batched(y)


def rows_of(
    family: str | None, v: Tensor, *vectors: Tensor | None, numbers: tuple[Tensor | None, ...] = ()
) -> FusedCall | None:
    """Return points and vectors ``(*batch, n)``, and numbers ``(*batch,)``, as kernels take them.

    None where the plain form has to serve.
    """
    kernels = find(family, v, *vectors, *numbers)
    if kernels is None:
        return None
    batch = batch_shape((v, *vectors, *numbers), [1] * (1 + len(vectors)) + [0] * len(numbers))
    vectors = tuple(None if t is None else as_data(t, batch) for t in vectors)
    numbers = tuple(None if t is None else as_data(t, batch, 0) for t in numbers)
    return FusedCall(kernels, batch, as_rows(v, batch), vectors, numbers)


def by_plain_form(project: Formula, gradient: Tensor, v: Tensor) -> Tensor:
    """Return the derivative at `v` of a projection, times the gradient, by the graph of its plain form."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        v = widened(v)
        (result,) = torch.autograd.grad(project(v), v, gradient, create_graph=again)
    return result


def _derivative(
    kernels: ModuleType,
    formula: Formula,
    batch: torch.Size,
    data: tuple[Tensor | None, ...],
    gradient: Tensor,
    *saved: Tensor,
) -> Tensor:
    if not (torch.is_grad_enabled() or is_traced() or may_be_batched(gradient)):  # batched: under either `vmap`
        return kernels.pull(gradient, *saved, *data)
    with torch.enable_grad():
        shaped = [t.reshape((*batch, *t.shape[1:])) for t in saved]
    result = formula(widened(gradient).reshape(*batch, gradient.shape[-1]), *shaped)
    return result.reshape(-1, gradient.shape[-1]).to(gradient.dtype)


def widened(tensor: Tensor) -> Tensor:
    """Return half types in float32."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
