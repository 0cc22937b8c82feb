"""Watching constrained training: what is recorded at each step, where it goes, and what is wrong with it."""

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
from optlayers.training.projected.projector import Projector
from optlayers.training.schedules.arguments import check_count, check_number
from optlayers.training.schedules.clock import Clock, Clocked
from optlayers.training.schedules.scheduled_set import Constraints, as_scheduled_set


class Monitor(Clocked):
    """Records violations, distances, active constraints, discarded gradients, multipliers and losses while training.

    At each step that is a multiple of `every`, the measures go to the writers under keys ``"name/measure"``, and the
    history is looked through for what goes wrong in practice; each cause is told once, as a `ConstraintWarning`.

    Parameters
    ----------
    *writers : SummaryWriter, function of (step, measures), or path of a CSV file
        None is needed: `history` keeps the records.
    every : int
        Steps of the optimizer between records. A record costs a few evaluations of the rows and two projections of
        each watched tensor (65 ms for 10 000 simplexes of 100 entries, on one core); other steps cost nothing.
    tolerance : float
        The violation from which a sample counts as violated, and the slack up to which a constraint counts as active.
    patience : int
        Records after which a constraint that stays active against the gradient counts as stuck.
    diagnoses : sequence of functions of (history, name)
        Return a message or None; an empty sequence turns them off.
    clock : Clock, optional
        One that others read, too; else `step` counts. Sets are those of its step, as they are for what projects.

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
    the gradient; ``multiplier_max``, ``multiplier_norm`` and ``multiplier_component`` (their sum
    with fixed random signs); ``loss/objective``, ``loss/total`` and
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
        clock: Clock | None = None,
    ) -> None:
        self.read(clock)
        check_number("tolerance", tolerance, above=0.0)
        if not all(callable(diagnose) for diagnose in diagnoses):
            raise ValueError(f"diagnoses: expected functions of (history, name), got {diagnoses!r}")
        self.writers = [as_writer(target) for target in writers]
        self.every, self.patience = check_count("every", every), check_count("patience", patience)
        self.tolerance, self.diagnoses = tolerance, diagnoses
        self.history = History()
        self._watched: dict[str, WatchedTensor | WatchedLayer | WatchedMultipliers] = {}
        self._losses: dict[str, Tensor | float] = {}
        self._last_step = self.steps
        self._told: set[tuple[str, str]] = set()

    @property
    def names(self) -> list[str]:
        """The names of what is watched."""
        return list(self._watched)

    @property
    def due(self) -> bool:
        """Whether the next call of `step` makes a record, if it comes after one step of the optimizer."""
        return max(self.steps, self._last_step + 1) // self.every > self._last_step // self.every

    def watch(self, name: str, source: Tensor | Callable[[], Tensor] | None, constraints: Constraints) -> None:
        """Watch a parameter, with its gradient where it has one, given as a tensor or a function that returns one.

        Without a source, an activation that `observe` shows at each step.
        """
        scheduled_set = as_scheduled_set(constraints)
        if isinstance(source, Tensor):
            scheduled_set.check(source, name)
        elif source is not None and not callable(source):
            raise TypeError(
                f"{name}: expected a tensor, a function that returns one, or None, got {type(source).__name__}"
            )
        self._add(name, WatchedTensor(name, source, scheduled_set))

    def observe(self, name: str, tensor: Tensor) -> None:
        """Show the activation of this step, before `backward`: its gradient is then known, too."""
        if self.due:
            self._tensor(name).show(tensor)

    def projected(self, name: str, before: Tensor, after: Tensor) -> None:
        """Tell what a projection made elsewhere has moved: the distance recorded is then that one."""
        if self.due:
            self._tensor(name).show_projection(before, after)

    def follow(self, projection: Projector) -> Callable[[], None]:
        """Record what a projection moves of the weights that are watched; return a function that ends it.

        A monitor that was given no clock reads that of the projection from then on. Weights are copied at the steps
        that are recorded.
        """
        if self._owns_clock:
            self.read(projection.clock)
        return projection.on_project(self._take_projection, self._is_due)

    def _take_projection(self, parameter: Tensor, before: Tensor, after: Tensor, *_: Any) -> None:
        for watched in self._watched.values():
            if isinstance(watched, WatchedTensor) and watched.is_of(parameter):
                watched.show_projection(before, after)

    def _is_due(self) -> bool:
        return self.due

    def watch_layer(self, layer: ProjectionLayer, name: str = "projection") -> Callable[[], None]:
        """Watch a layer by hooks: what its forward passes move and its backward passes discard; return the remover."""
        if not isinstance(layer, ProjectionLayer):
            raise TypeError(f"{name}: expected a ProjectionLayer, got {type(layer).__name__}")
        watched = WatchedLayer(layer, self._is_due)
        self._add(name, watched)

        def remove() -> None:
            watched.remove()
            self._watched.pop(name, None)

        return remove

    def multipliers(
        self, name: str, source: nn.Module | Callable[[], Any], violation: Callable[[], Any] | None = None
    ) -> None:
        """Watch multipliers: those of a `Lagrangian` or another module, or tensors that a function returns.

        Of other modules they are the parameters, or else the buffers.
        The function `violation` returns the violations that belong to them, positive where violated; else those of
        `name`, or the largest of all that is watched, are taken.
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

        Returns the measures, by key ``"name/measure"``; None at steps between records.
        """
        self._tick()
        due, self._last_step = self.steps // self.every > self._last_step // self.every, self.steps
        if not due:
            return None
        measures: dict[str, Tensor | float] = {}
        for name, watched in self._watched.items():
            measured = watched.measure(self.steps, self.tolerance, self.patience)
            measures |= {f"{name}/{key}": value for key, value in measured.items()}
        record = to_numbers(measures | self._losses)
        self._losses = {}
        self.history.add(self.steps, record)
        for write in self.writers:
            write(self.steps, record)
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
        """Return the clock, the records, what has been told, and how long constraints have been stuck."""
        stuck = {name: w.stuck for name, w in self._watched.items() if isinstance(w, WatchedTensor)}
        return {
            "clock": self.clock.state_dict(),
            "last_step": self._last_step,
            "records": list(self.history.records),
            "told": sorted(self._told),
            "stuck": {name: counts for name, counts in stuck.items() if counts is not None},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state; what is watched is not saved, so watch the same things first."""
        self.clock.load_state_dict(state["clock"])
        self._last_step = state["last_step"]
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
