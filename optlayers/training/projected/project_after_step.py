"""Projected optimisation with any torch optimizer: weights go back to their sets after each step."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from torch import Tensor
from torch.optim import Optimizer

from optlayers.training.projected.members import members_of
from optlayers.training.projected.projector import Metric, Projector, Source
from optlayers.training.schedules.clock import Clock, was_skipped
from optlayers.training.schedules.scheduled_set import Constraints, ScheduledSet


def project_after_step(
    optimizer: Optimizer,
    constraints: Mapping[Tensor, Constraints],
    *,
    every: int = 1,
    metric: Metric = "euclidean",
    clear_momentum: bool = False,
    project_now: bool = True,
    clock: Clock | None = None,
) -> "ProjectedParameters":
    """Keep parameters to sets: from now on, a step of the optimizer ends with a projection.

    With gradient descent that is the projected gradient method. Steps that a `GradScaler` skips project nothing.

    Parameters
    ----------
    optimizer : Optimizer
        Any of torch's. (L-BFGS works, but its curvature pairs and line search do not see the projection.)
    constraints : dict of Parameter to (list of cvxpy.Constraint, FeasibleSet or ScheduledSet)
        Each on one variable, whose shape is the parameter's or that of its last dimensions: each row is then kept to
        its own copy of the set. The k-th step ends in the sets of step k; the start is in those of step 0.
    every : int
        Project after so many steps; `handle.project()` does it in between, before an evaluation say.
    metric : {"euclidean", "optimizer"}
        Adaptive optimizers (Adam, RMSprop, Adagrad, ...) divide the step by a diagonal ``d``: a step of gradient
        descent in the metric ``sum_i d_i y_i^2``. The Euclidean projection of such a step need not decrease the loss,
        and its fixed points need not be optimal where constraints couple entries that have different ``d_i``.
        "optimizer" projects in the optimizer's own metric, ``argmin_y sum_i d_i (y_i - v_i)^2``, as the convergence
        proofs of these methods demand (Duchi, Hazan and Singer, "Adaptive subgradient methods", 2011). Boxes make no
        difference; sections of boxes, slabs, L1 and L2 balls stay closed forms; other sets take the general solver.
    clear_momentum : bool
        Averages of gradients (``m``: SGD's momentum buffer, Adam's `exp_avg`) go on to push out of the set what was
        stopped at its boundary: when the gradient turns, they must first be used up. With this option
        ``m <- J(v)' m`` whenever `v` is projected, `J` the derivative of the projection in the metric in use: entries
        at a bound lose their momentum, a fixed sum loses the mean, and inside the set nothing changes. For
        polyhedra it is the component along the face that `v` is projected onto.
    project_now : bool
        Whether to project at once, so that training starts in the set.
    clock : Clock, optional
        One that others read, too; it is attached to the optimizer.

    Returns
    -------
    ProjectedParameters
        To remove it, to watch it, and to save its step; also a context manager, which removes it at its end.

    Raises
    ------
    ValueError
        If a parameter is not the optimizer's, a shape does not fit, the optimizer cannot do what is asked, or the
        clock counts the steps of another one.
    """
    members = members_of(constraints, "project_after_step")
    named = {f"parameter {k} of project_after_step": member for k, member in enumerate(members.items())}
    clock = Clock() if clock is None else clock
    return ProjectedParameters(
        optimizer, named, clock, project_now, every=every, metric=metric, clear_momentum=clear_momentum
    )


class ProjectedParameters(Projector):
    """Parameters that are projected after an optimizer's steps, which `clock` counts; made by `project_after_step`."""

    def __init__(
        self,
        optimizer: Optimizer,
        members: Mapping[str, tuple[Source, ScheduledSet]],
        clock: Clock,
        project_now: bool,
        **options: Any,
    ) -> None:
        super().__init__(members, clock, **options)
        self.check([optimizer])
        clock.attach(optimizer)
        self._optimizer = optimizer
        self._hook = optimizer.register_step_post_hook(self._after_step)
        if project_now:
            self.project()

    def remove(self) -> None:
        """Stop projecting; the weights stay as they are."""
        self._hook.remove()

    def project(self, optimizers: Sequence[Optimizer] = ()) -> None:
        """Project all parameters now."""
        super().project([self._optimizer])

    def state_dict(self) -> dict[str, Any]:
        """Return what goes on when training is resumed: the clock."""
        return self.clock.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        self.clock.load_state_dict(state)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()

    def _after_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not was_skipped(optimizer):
            self.after_step()
