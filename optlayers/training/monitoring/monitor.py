"""Watching constrained training: what is recorded at each step, where it goes, and what is wrong with it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from optlayers.layer import ProjectionLayer
from optlayers.training.monitoring.diagnoses import DIAGNOSES, ConstraintWarning, Diagnosis
from optlayers.training.monitoring.history import History
from optlayers.training.monitoring.measures import to_numbers
from optlayers.training.monitoring.watched import WatchedLayer, WatchedMultipliers, WatchedTensor
from optlayers.training.monitoring.writers import ScalarWriter, Writer, as_writer
from optlayers.training.projected.project_after_step import ProjectedParameters
from optlayers.training.schedules.scheduled_set import Constraints, ScheduledSet, scheduled


class Monitor:
    """Records violations, distances, active constraints, discarded gradients, multipliers and losses while training.

    Every `every` steps, the measures go to the writers under keys ``"name/measure"``, and the history is looked
    through for what goes wrong in practice; each cause is told once, as a `ConstraintWarning`.

    Parameters
    ----------
    *writers : SummaryWriter, function of (step, measures), or path of a CSV file
        None is needed: `history` keeps the records.
    every : int
        Steps between records. A record costs a few evaluations of the rows and two projections of each watched tensor
        (65 ms for 10 000 simplexes of 100 entries, on one core); other steps cost nothing.
    tolerance : float
        The violation from which a sample counts as violated, and the slack up to which a constraint counts as active.
    patience : int
        Records after which a constraint that stays active against the gradient counts as stuck.
    diagnoses : sequence of functions of (history, name)
        Return a message or None; an empty sequence turns them off.

    Attributes
    ----------
    history : History

    Notes
    -----
    The measures are ``violation_max``, ``violation_mean``, ``violated`` (share of samples), ``distance`` and
    ``distance_max`` (to the projection), ``active`` (share of inequality rows and cones without slack), ``pinned``
    (share of samples whose active constraints take all dimensions), ``gradient``, ``gradient_discarded`` and
    ``gradient_discarded_share`` (norms, and their ratio), ``stuck`` (share of rows); of layers, those of the input
    with the prefix ``input_`` for violations, and ``gradient_usable_share``, what the feasible point could follow of
    the gradient; ``multiplier_max`` and ``multiplier_norm``; ``loss/objective``, ``loss/total`` and
    ``loss/constraint_term``.

    Examples
    --------
    >>> import cvxpy as cp, torch
    >>> from optlayers.training.monitoring.monitor import Monitor
    >>> w, x = cp.Variable(2), torch.tensor([0.5, -1.0], requires_grad=True)
    >>> monitor = Monitor()
    >>> monitor.watch("weight", x, [w >= 0, w <= 1])
    >>> monitor.step()["weight/violation_max"]
    1.0
    """

    def __init__(
        self,
        *writers: Writer | ScalarWriter | str | Path,
        every: int = 1,
        tolerance: float = 1e-5,
        patience: int = 50,
        diagnoses: Sequence[Diagnosis] = DIAGNOSES,
    ) -> None:
        if every < 1 or patience < 1 or not tolerance > 0:
            raise ValueError(
                f"expected every >= 1, patience >= 1 and tolerance > 0, got {every}, {patience} and {tolerance}"
            )
        self.writers = [as_writer(target) for target in writers]
        self.every, self.tolerance, self.patience = every, tolerance, patience
        self.diagnoses = diagnoses
        self.history = History()
        self._watched: dict[str, WatchedTensor | WatchedLayer | WatchedMultipliers] = {}
        self._losses: dict[str, Tensor | float] = {}
        self._step = 0
        self._told: set[tuple[str, str]] = set()

    @property
    def names(self) -> list[str]:
        """The names of what is watched."""
        return list(self._watched)

    @property
    def due(self) -> bool:
        """Whether this step will be recorded."""
        return self._step % self.every == 0

    def watch(
        self, name: str, source: Tensor | Callable[[], Tensor] | None, constraints: Constraints | ScheduledSet
    ) -> None:
        """Watch a weight, or an activation.

        Parameters
        ----------
        name : str
        source : Tensor, function that returns one, or None
            A parameter, with its gradient where it has one; or, for activations, None: see `observe`.
        constraints : list of cvxpy.Constraint, FeasibleSet or ScheduledSet
        """
        held = scheduled(constraints)
        if isinstance(source, Tensor):
            held.check(source, name)
        elif source is not None and not callable(source):
            raise TypeError(
                f"{name}: expected a tensor, a function that returns one, or None, got {type(source).__name__}"
            )
        self._add(name, WatchedTensor(name, source, held))

    def observe(self, name: str, tensor: Tensor) -> None:
        """Show the activation of this step, before `backward`: its gradient is then known, too."""
        if self.due:
            self._tensor(name).show(tensor)

    def projected(self, name: str, before: Tensor, after: Tensor) -> None:
        """Tell what a projection made elsewhere has moved: the distance recorded is then that one."""
        if self.due:
            self._tensor(name).show_projection(before, after)

    def follow(self, projection: ProjectedParameters) -> Callable[[], None]:
        """Take what `project_after_step` moves of the weights that are watched; return a function that ends it.

        Until then each projection keeps a copy of the weights.
        """

        def take(parameter: Tensor, before: Tensor, after: Tensor, *_: Any) -> None:
            for name, watched in self._watched.items():
                if isinstance(watched, WatchedTensor) and watched.source is parameter:
                    self.projected(name, before, after)

        return projection.on_project(take)

    def watch_layer(self, layer: ProjectionLayer, name: str = "projection") -> Callable[[], None]:
        """Watch a layer by hooks: what its forward passes move and its backward passes discard; return the remover."""
        if not isinstance(layer, ProjectionLayer):
            raise TypeError(f"{name}: expected a ProjectionLayer, got {type(layer).__name__}")
        watched = WatchedLayer(layer, lambda: self.due)
        self._add(name, watched)

        def remove() -> None:
            watched.remove()
            self._watched.pop(name, None)

        return remove

    def multipliers(
        self, name: str, source: nn.Module | Callable[[], Any], violation: Callable[[], Any] | None = None
    ) -> None:
        """Watch multipliers.

        Parameters
        ----------
        name : str
        source : Module or function
            A module whose parameters (or else buffers) are the multipliers, or a function that returns tensors.
        violation : function, optional
            Returns the violations that belong to them, positive where violated; else those of `name`, or the largest
            of all that is watched, are taken.
        """
        if not callable(source):
            raise TypeError(
                f"{name}: expected a module or a function that returns tensors, got {type(source).__name__}"
            )
        self._add(name, WatchedMultipliers(source, violation))

    def losses(self, objective: Tensor | float, total: Tensor | float) -> None:
        """Show the loss of this step without and with the constraint term."""
        if self.due:
            pairs = {"loss/objective": objective, "loss/total": total, "loss/constraint_term": total - objective}
            self._losses = {k: v.detach() if isinstance(v, Tensor) else v for k, v in pairs.items()}

    def step(self) -> dict[str, float] | None:
        """Record this step if it is due; call it after the optimizer's step, before gradients are cleared.

        Returns
        -------
        dict or None
            The measures, by key ``"name/measure"``; None at steps between records.
        """
        step, due = self._step, self.due
        measures: dict[str, Tensor | float] = {}
        if due:
            for name, watched in self._watched.items():
                found = watched.measure(step, self.tolerance, self.patience)
                measures |= {f"{name}/{key}": value for key, value in found.items()}
            measures |= self._losses
            self._losses = {}
        self._step += 1
        if not due:
            return None
        record = to_numbers(measures)
        self.history.add(step, record)
        for write in self.writers:
            write(step, record)
        self._diagnose()
        return record

    def _diagnose(self) -> None:
        for name in self.history.names:
            for diagnose in self.diagnoses:
                cause = (diagnose.__name__, name)
                message = None if cause in self._told else diagnose(self.history, name)
                if message is not None:
                    self._told.add(cause)
                    warnings.warn(f"step {self.history.step}: {message}.", ConstraintWarning, stacklevel=3)

    def state_dict(self) -> dict[str, Any]:
        """Return the step, the records, what has been told, and how long constraints have been stuck."""
        stuck = {name: w.stuck for name, w in self._watched.items() if isinstance(w, WatchedTensor)}
        return {
            "step": self._step,
            "records": list(self.history.records),
            "told": sorted(self._told),
            "stuck": {name: counts for name, counts in stuck.items() if counts is not None},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state; what is watched is not saved, so watch the same things first."""
        self._step = state["step"]
        self.history = History(state["records"])
        self._told = {(cause, name) for cause, name in state["told"]}
        for name, watched in self._watched.items():
            if isinstance(watched, WatchedTensor):
                watched.stuck = state["stuck"].get(name)

    def _add(self, name: str, watched: WatchedTensor | WatchedLayer | WatchedMultipliers) -> None:
        if name in self._watched or name == "loss":
            raise ValueError(f"{name!r} is watched already: give each source a name of its own")
        self._watched[name] = watched

    def _tensor(self, name: str) -> WatchedTensor:
        watched = self._watched.get(name)
        if not isinstance(watched, WatchedTensor):
            raise ValueError(f"{name!r} is not a watched tensor: call watch({name!r}, None, constraints) first")
        return watched
