"""What goes wrong in constrained training, told from the history in plain words.

Each diagnosis is a function of the history and of a name in it; it returns a message, or None where nothing is wrong.
"""

import math
from collections.abc import Callable
from statistics import mean, median

from optlayers.training.monitoring.history import History

Diagnosis = Callable[[History, str], str | None]


class ConstraintWarning(UserWarning):
    """Something goes wrong in training under constraints; the message says what, with numbers, and what to do."""


def not_finite(history: History, name: str) -> str | None:
    """NaN or infinity among the values."""
    violations = history.series(name, "violation_max")
    if not violations or math.isfinite(violations[-1]):
        return None
    return f"{name!r} has NaN or infinite entries at step {history.step}: lower the learning rate, or clip the gradient"


def swings(history: History, name: str) -> list[tuple[int, float]]:
    """Return when (by record) and by how much multipliers went back by half of the largest norm until then, or more."""
    norms, values = history.series(name, "multiplier_norm"), history.series(name, "multiplier_component")
    result: list[tuple[int, float]] = []
    extreme, forward, largest = 0.0, 0, 0.0
    for record, (size, value) in enumerate(zip(norms, values, strict=False)):
        largest = max(largest, size)
        moved = value - extreme
        if forward * moved >= 0 and (forward or abs(moved) >= 0.5 * largest > 0):
            extreme, forward = value, forward or (1 if moved > 0 else -1)
        elif forward and abs(moved) >= 0.5 * largest:
            result.append((record, abs(moved)))
            extreme, forward = value, -forward
    return result


def _swung(history: History, name: str, records: int) -> bool:
    """Return whether multipliers went back in the last so many records."""
    return any(record >= len(history.records) - records for record, _ in swings(history, name))


def multipliers_swing(history: History, name: str, times: int = 4) -> str | None:
    """Multipliers that swing back and forth, further and further, and the violation with them."""
    sizes = [size for _, size in swings(history, name)]
    if len(sizes) < times or max(sizes[-2:]) < max(
        1.2 * max(sizes[:2]), 0.5 * max(history.series(name, "multiplier_norm"))
    ):
        return None
    violations = history.series(name, "violation_max") or history.worst("violation_max")
    quarter = len(violations) // 4
    if quarter and max(violations[-quarter:]) < 1.2 * max(violations[quarter : 2 * quarter]):
        return None
    return (
        f"the multipliers of {name!r} swing back and forth, by {sizes[0]:.3g} at first and by {sizes[-1]:.3g} now: "
        "they move faster than the optimizer answers, since momentum answers late, and Adam by its learning rate a "
        "step at most. Lower the relaxation of AugmentedLagrangian or the learning rate of Lagrangian, give the "
        "optimizer more steps in between (every=), raise the weight of the quadratic term, or damp with "
        "PI(integral, proportional)"
    )


def multipliers_blow_up(history: History, name: str, records: int = 100) -> str | None:
    """Multipliers that keep growing at an undiminished pace while the violation does not fall.

    With losses recorded, the constraint term must also have outgrown the objective.
    """
    if _swung(history, name, 2 * records):
        return None
    sizes = history.series(name, "multiplier_max")
    quarter = len(sizes) // 4
    if len(sizes) < records or sizes[-1] < 2.5 * sizes[quarter]:
        return None
    growth, pace = sizes[-1] - sizes[-1 - quarter], (sizes[-1] - sizes[0]) * quarter / (len(sizes) - 1)
    if growth <= 0 or growth < 0.8 * pace:
        return None
    of_name = history.series(name, "violation_max")
    violations = of_name or history.worst("violation_max")
    seen = ""
    if violations:
        quarter = max(1, len(violations) // 4)
        early, late = median(violations[quarter : 2 * quarter] or violations), median(violations[-quarter:])
        violated = history.series(name, "violated") if of_name else history.worst("violated")
        if late < 0.95 * early or violated[-1] <= 0:
            return None
        seen = f" while the violation stays at {late:.3g}"
    objective, total = history.series("loss", "objective"), history.series("loss", "total")
    if objective and total and abs(total[-1] - objective[-1]) <= abs(objective[-1]):
        return None
    return (
        f"the multipliers of {name!r} keep growing, from {sizes[0]:.3g} to {sizes[-1]:.3g} over {len(sizes)} records"
        f"{seen}: constraints that contradict each other do that, whatever the multipliers are. Check that some point "
        "satisfies them all (FeasibleSet names the constraints of an empty set), relax one, or give it a slack; if the "
        "multipliers are still too small to matter, raise their learning rate"
    )


def everything_active(history: History, name: str, records: int = 20) -> str | None:
    """Nearly every sample pinned: active constraints take all its dimensions."""
    pinned = history.series(name, "pinned")[-records:]
    if len(pinned) < records or min(pinned) < 0.99:
        return None
    return (
        f"{name!r} is over-constrained: active constraints have taken all dimensions of {min(pinned):.0%} of its "
        f"samples for {records} records, so nothing is left to learn there. Loosen the constraints or drop redundant "
        "equalities; if a vertex is what you want, as for hard choices, all is well"
    )


def gradient_discarded(history: History, name: str, records: int = 20) -> str | None:
    """A projection layer that stops nearly all of a gradient that its output could follow.

    At a solution on the boundary the gradient is rightly stopped: the feasible point cannot follow it either. That is
    so for weights that are projected after the step, always.
    """
    shares = history.series(name, "gradient_discarded_share")[-records:]
    usable = history.series(name, "gradient_usable_share")[-records:]
    if len(usable) < records or min(shares) < 0.99 or min(usable) < 0.1:
        return None
    return (
        f"the projection {name!r} discards {mean(shares):.1%} of the gradient for {records} records, although the "
        f"feasible point could follow {mean(usable):.0%} of it: its input is so far outside that small changes of it "
        "change nothing. Use straight-through gradients, add a pull of the input toward the set (a weighted squared "
        "distance to its projection), or scale down what comes before it"
    )


def stuck_at_bound(history: History, name: str) -> str | None:
    """Constraints that stay active although the gradient would leave them."""
    stuck = history.series(name, "stuck")[-1:]
    if not stuck or stuck[0] <= 0:
        return None
    return (
        f"{stuck[0]:.1%} of the constraints on {name!r} have stayed active for many records although the gradient asks "
        "to leave them: what makes it is saturated there (a sigmoid or softplus far out, an input far outside of a "
        "projection) or it has no share in the optimizer. Start further inside, lower the learning rate, or project "
        "after the step instead"
    )


def violation_not_falling(history: History, name: str, records: int = 60) -> str | None:
    """A violation that is no smaller than it was."""
    violations = history.series(name, "violation_max")[-records:]
    violated = history.series(name, "violated")[-records:]
    third = records // 3
    if len(violations) < records or len(violated) < records or min(violated) <= 0:
        return None
    early, late = median(violations[:third]), median(violations[-third:])
    if not late >= 0.9 * early or any(_swung(history, other, 4 * records) for other in history.names):
        return None
    return (
        f"the violation of {name!r} does not fall: {early:.3g} before, {late:.3g} now, over {records} records, with "
        f"{violated[-1]:.0%} of its samples violated. Raise the weight of the penalty or the learning rate of the "
        "multipliers, use an exact penalty or an augmented Lagrangian, or check that nothing overwrites the projection"
    )


DIAGNOSES: tuple[Diagnosis, ...] = (
    not_finite,
    multipliers_swing,
    multipliers_blow_up,
    everything_active,
    gradient_discarded,
    stuck_at_bound,
    violation_not_falling,
)
