"""Sequences whose steps are bounded: Lipschitz chains, with bounds on the entries."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from optlayers.kernels.cpu.call import is_built
from optlayers.parametric.range import filled, relative
from optlayers.recognition.block import Block, Fields
from optlayers.recognition.chains import in_order, order_field, read_chain
from optlayers.sets.base import Check, ClosedFormSet, Examples, between, register
from optlayers.sets.box import Box
from optlayers.sets.isotonic import arrange, match_monotone, restore
from optlayers.sets.search.chain_compromise import least_violation
from optlayers.sets.search.chain_search import nearest_in_chain


@register
@dataclass(frozen=True, eq=False)
class DifferenceChain(ClosedFormSet):
    """``{y : low_step <= y[1:] - y[:-1] <= high_step, lower <= y <= upper}``, each bound of which may be absent.

    The active bounds are found by dynamic programming (compiled: without the core the set is the general solver's);
    with these fixed, each run of tight steps is a mean, or stands at its bound. What pools to a monotone sequence is
    `Isotonic` instead.

    Attributes
    ----------
    order : Tensor, shape (*batch, n), or None
        The entries along the chain, as whole numbers; None for their own order.
    lower, upper : Tensor, shape (*batch, n), or None
        Along the chain.
    low_step, high_step : Tensor, shape (*batch, n - 1), or None
    """

    name = "chain of bounded steps"
    order: Tensor | None
    lower: Tensor | None
    upper: Tensor | None
    low_step: Tensor | None
    high_step: Tensor | None

    @staticmethod
    def constraints(
        x: cp.Variable,
        low_step: Any = None,
        high_step: Any = None,
        step: Any = None,
        lower: Any = None,
        upper: Any = None,
        order: Any = None,
    ) -> list[cp.Constraint]:
        z = x if order is None else x[order]
        both = between(cp.abs(cp.diff(z)), upper=step)
        return both + between(cp.diff(z), low_step, high_step) + between(z, lower, upper)

    @classmethod
    def match(cls, block: Block) -> Fields | None:
        if not is_built() or len(block.rows) < 2 or block.cones or block.auxiliary:
            return None
        if _is_affine(block) or _is_tied(block):
            return None
        chain = read_chain(block.rows, block.size)
        if chain is None or match_monotone(block, chain) is not None:
            return None
        return {
            "order": order_field(chain.order, block.parameters),
            "lower": in_order(block.lower, chain),
            "upper": in_order(block.upper, chain),
            "low_step": chain.lower,
            "high_step": chain.upper,
        }

    @classmethod
    def label(cls, block: Block) -> str:
        both = all(row.lower is not None and row.upper is not None for row in block.rows)
        return "Lipschitz chain" if both and not block.has_bounds else cls.name

    def project(self, v: Tensor) -> Tensor:
        z = arrange(v, self.order)
        return restore(nearest_in_chain(z, *self._bounds(z)), self.order)

    def _bounds(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return bounds on entries and steps, infinite where there is none."""
        entries = like.new_zeros(like.shape[-1])
        steps = entries[1:]
        return (
            filled(self.lower, -torch.inf, entries),
            filled(self.upper, torch.inf, entries),
            filled(self.low_step, -torch.inf, steps),
            filled(self.high_step, torch.inf, steps),
        )

    def checks(self) -> list[Check]:
        """Check that no step's bounds cross, and that each entry can be reached from those before it."""
        checks = []
        if self.low_step is not None and self.high_step is not None:
            crossing = relative(self.low_step - self.high_step, self.low_step, self.high_step)
            checks.append(Check(crossing, _step_sources))
        if self.lower is not None and self.upper is not None:
            lower, upper, low_step, high_step = self._bounds(self.lower)
            low, high = _reachable(lower, low_step), -_reachable(-upper, -high_step)
            checks.append(Check.one(relative(low - high, low, high).amax(-1)))
        return checks

    def relaxed(self) -> "DifferenceChain":
        """Minimise squared violations; what is violated then is allowed to be. Without bounds, steps meet halfway."""
        if self.lower is None or self.upper is None:
            if self.low_step is None or self.high_step is None:
                return self
            steps = Box(self.low_step, self.high_step).relaxed()
            return dataclasses.replace(self, low_step=steps.lower, high_step=steps.upper)
        lower, upper, low_step, high_step = self._bounds(self.lower)
        empty = torch.stack([(check.amount > 0).any(-1) for check in self.checks()]).any(0).unsqueeze(-1)
        y = least_violation(lower, upper, low_step, high_step).to(lower.dtype)
        return DifferenceChain(
            self.order,
            torch.where(empty, torch.minimum(lower, y), lower),
            torch.where(empty, torch.maximum(upper, y), upper),
            torch.where(empty, torch.minimum(low_step, y.diff()), low_step),
            torch.where(empty, torch.maximum(high_step, y.diff()), high_step),
        )

    @staticmethod
    def examples() -> Examples:
        low, high = np.array([-0.3, 0.1, -1.0, -0.4]), np.array([0.2, 0.5, 0.0, 0.4])
        floor = np.array([-1.0, -0.5, -0.2, -0.9, -0.3])
        yield {"size": (5,), "step": np.array(0.5)}
        yield {"size": (5,), "low_step": low, "high_step": high}
        yield {"size": (5,), "step": np.array(0.4), "lower": floor, "upper": floor + 0.8}
        yield {"size": (6,), "low_step": np.full(5, 0.1), "lower": np.arange(6.0) % 2 / 5, "upper": np.array(1.0)}
        yield {"size": (5,), "low_step": low, "high_step": high, "lower": floor}
        yield {"size": (4,), "high_step": high[:3], "upper": floor[:4], "order": [3, 1, 0, 2], "fixed": ("order",)}


def _is_affine(block: Block) -> bool:
    return not block.has_bounds and all(row.is_equality for row in block.rows)


def _is_tied(block: Block) -> bool:
    return all(row.is_homogeneous for row in block.rows)


def _reachable(lower: Tensor, low_step: Tensor) -> Tensor:
    """Return ``low[i] = max(lower[i], low[i - 1] + low_step[i - 1])``, by doubling the number of steps looked back."""
    back = 1
    step = pad(low_step, (1, 0), value=-torch.inf)
    while back < lower.shape[-1]:
        lower = torch.maximum(lower, pad(lower[..., :-back], (back, 0), value=-torch.inf) + step)
        step = step + pad(step[..., :-back], (back, 0), value=-torch.inf)
        back *= 2
    return lower


def _step_sources(block: Block) -> list[set[int]]:
    """Return the user's constraints on each step."""
    chain = read_chain(block.rows, block.size)
    assert chain is not None
    return [block.rows[k].sources for k in chain.rows]
