"""The Lagrangian of a training problem: a loss with priced constraints, and prices that violations move."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from optlayers.declaration.declaration import check_choice
from optlayers.training.priced.controllers import PI
from optlayers.training.priced.kkt import KKT, gradient_size, largest
from optlayers.training.priced.multipliers import Multiplier
from optlayers.training.priced.relations import Relation
from optlayers.training.schedules.arguments import check_count
from optlayers.training.schedules.clock import Clock, ClockedModule
from optlayers.training.schedules.schedules import Schedule

Update = Literal["simultaneous", "alternating"]
Seen = tuple[Tensor, Tensor | None]
"""Values of a constraint, and of which samples."""


class Lagrangian(ClockedModule):
    """``objective + sum of <multiplier, constraint>``, minimised in the parameters, maximised in the multipliers.

    ``loss = lagrangian(objective, *inputs)`` is called in place of the objective; after the optimizer's step,
    ``lagrangian.step()`` moves the multipliers. These are buffers: they are in `state_dict`, follow `to`, and no
    optimizer sees them.

    Parameters
    ----------
    constraints : Relation or list of Relation
        `Inequality`, `Equality` and `InSet`; each function gets the inputs of the call.
    lr : positive number, or function of the step
        The step size of the multipliers.
    update : {"simultaneous", "alternating"}
        Whether multipliers take the constraints of the last calls (averaged, if there were several since the last
        step), at no cost, or those after the optimizer's step, evaluated again on the inputs of `step`. Optimizers that
        call their closure several times need "alternating".
    controller : PI, optional
        In place of `lr`.
    every : int
        Multipliers move in one of so many steps.
    clock : Clock, optional
        One that others read, too; else `step` counts. Levels, sets and step sizes are those of its step.

    Notes
    -----
    Terms are sums over the values of a constraint, but means over the samples for constraints with ``items=n``: their
    multipliers are those of ``1/n sum_i g_i``. In evaluation mode and without gradients, calls leave no trace.

    Examples
    --------
    >>> lagrangian = Lagrangian([Inequality(lambda p: p.norm(), level=1.0)], lr=0.1)  # doctest: +SKIP
    >>> lagrangian(loss, parameter).backward()  # doctest: +SKIP
    >>> optimizer.step(), lagrangian.step()  # doctest: +SKIP
    """

    _share = 1.0  # of the controller's step
    multipliers: nn.ModuleList

    def __init__(
        self,
        constraints: Relation | Sequence[Relation],
        lr: float | Schedule | None = None,
        *,
        update: Update = "simultaneous",
        controller: PI | None = None,
        every: int = 1,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(clock)
        check_choice("update", update, Update)
        if (lr is None) == (controller is None):
            raise ValueError("pass lr, the step size of the multipliers, or controller, one of the two")
        self.constraints = [constraints] if isinstance(constraints, Relation) else list(constraints)
        if not self.constraints or not all(isinstance(c, Relation) for c in self.constraints):
            raise ValueError(f"expected Inequality, Equality or InSet constraints, got {constraints!r}")
        self.update, self.every, self._last_step = update, check_count("every", every), self.steps
        self._controller = PI(lr) if controller is None and lr is not None else controller
        self.multipliers = nn.ModuleList([Multiplier(c) for c in self.constraints])
        self._seen: list[list[Seen]] = [[] for _ in self.constraints]

    def forward(self, objective: Tensor, *inputs: Any, index: Tensor | None = None) -> Tensor:
        """Return the scalar to differentiate.

        Parameters
        ----------
        objective : Tensor, shape ()
        *inputs
            What the constraints' functions get.
        index : Tensor of int, shape (samples,), optional
            Which samples these are, for constraints with ``items=n``.
        """
        loss = objective
        for k, (relation, multiplier) in enumerate(self._pairs()):
            with torch.set_grad_enabled(torch.is_grad_enabled() and relation.proxy is None):
                values = relation.values(inputs)
            y, anchor = multiplier.rows(values, index)
            if self.training and torch.is_grad_enabled():
                self._seen[k].append((values.detach(), None if relation.items is None else index))
            average = None if relation.average is None else multiplier.average(values.detach())
            term = self._term(k, relation.surrogate(inputs, values, average), y, anchor)
            loss = loss + (term.sum() if relation.items is None else term.sum() / len(values))
        return loss

    def _multiplier(self, k: int) -> Multiplier:
        return cast(Multiplier, self.multipliers[k])

    def _pairs(self) -> list[tuple[Relation, Multiplier]]:
        return [(relation, self._multiplier(k)) for k, relation in enumerate(self.constraints)]

    def _term(self, k: int, values: Tensor, multiplier: Tensor, anchor: Tensor) -> Tensor:
        """Return ``y c - support(y)`` in terms whose sum is the constraint's part of the Lagrangian."""
        return multiplier * (values - anchor)

    def _control(self, k: int) -> PI:
        assert self._controller is not None
        return self._controller

    @torch.no_grad()
    def step(self, *inputs: Any, index: Tensor | None = None) -> None:
        """Move the multipliers, after the optimizer's step.

        With ``update="alternating"``, inputs and index are as for the call, computed with the new parameters.
        """
        self._tick()
        for relation, multiplier in self._pairs():
            if relation.moved != "carry" and relation.differs(self._last_step, self.steps):
                multiplier.value = multiplier.value * (0.0 if isinstance(relation.moved, str) else relation.moved)
        self._last_step = self.steps
        if self.steps % self.every == 0:
            for k, (values, samples) in enumerate(self._latest(inputs, index)):
                self._move(k, values, samples)

    def _latest(self, inputs: tuple[Any, ...], index: Tensor | None) -> list[Seen]:
        """Return the values that move the multipliers, one item for each constraint."""
        if self.update == "alternating":
            latest = [(c.values(inputs), None if c.items is None else index) for c in self.constraints]
        elif inputs:
            raise ValueError('step takes inputs with update="alternating"; this one takes those of the calls')
        elif not all(self._seen):
            raise ValueError(
                "no constraint was evaluated since the last step: call it on a loss first, in training mode"
            )
        else:
            latest = [_together(seen) for seen in self._seen]
        self._seen = [[] for _ in self.constraints]
        return latest

    def _move(self, k: int, values: Tensor, index: Tensor | None) -> None:
        """Take one step of the multipliers of a constraint."""
        self._multiplier(k).update(values, index, self._control(k), self.steps, self._share)

    @torch.no_grad()
    def duals(self, *inputs: Any, index: Tensor | None = None) -> list[Any]:
        """Return the multipliers as CVXPY's dual variables, one item per constraint; inputs as for the call.

        That is a tensor, or for sets a list with one item per CVXPY constraint, see `Solution.dual`.
        """
        result = []
        for relation, multiplier in self._pairs():
            values = relation.values(inputs)
            result.append(relation.duals(values, multiplier.rows(values, index)[0], self.steps))
        return result

    def kkt(
        self, objective: Tensor, parameters: Iterable[Tensor] | Tensor, *inputs: Any, index: Tensor | None = None
    ) -> KKT:
        """Return the residuals of the optimality conditions; `grad` and the objective's graph stay as they are.

        The `parameters` are those that are trained; objective, inputs and index are those of the call.
        """
        loss, rows = objective, []
        for relation, multiplier in self._pairs():
            values = relation.values(inputs)
            y, _ = multiplier.rows(values, index)
            term = (y * relation.differentiable(inputs, values)).sum()
            loss = loss + (term if relation.items is None else term / len(values))
            v, step = values.detach(), self.steps
            dual, product = relation.dual_infeasibility(v, y, step), relation.complementarity(v, y, step)
            rows.append((relation.distances(v, step), dual, product))
        return KKT(gradient_size(loss, parameters), *map(largest, zip(*rows, strict=True)))

    @torch.no_grad()
    def violations(self, *inputs: Any) -> list[Tensor]:
        """Return each constraint's largest distance to where its values should be; inputs as for the call."""
        distances = [relation.distances(relation.values(inputs), self.steps) for relation in self.constraints]
        return [d.max() if d.numel() else d.new_zeros(()) for d in distances]

    def get_extra_state(self) -> dict[str, Any]:
        return super().get_extra_state() | {"last_step": self._last_step}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        self._last_step = state["last_step"]


def _together(seen: list[Seen]) -> Seen:
    """Return the mean over several calls, or all samples of them."""
    if len(seen) == 1:
        return seen[0]
    values = [values for values, _ in seen]
    indices = [index for _, index in seen if index is not None]
    return (torch.cat(values), torch.cat(indices)) if indices else (torch.stack(values).mean(0), None)
