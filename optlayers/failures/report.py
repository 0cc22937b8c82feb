"""What is said of samples without answer."""

import inspect
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from optlayers.bound_set import BoundSet
from optlayers.declaration.parameter_values import name_rows
from optlayers.declaration.wording import together
from optlayers.errors import InfeasibleError, NotSolvedError
from optlayers.failures.emptiness import Emptiness
from optlayers.solution import Status

_INTERNAL = (str(Path(__file__).parents[1]) + os.sep, str(Path(torch.__file__).parent) + os.sep)


@dataclass(frozen=True)
class Failures:
    """The samples of one call that have no answer, ``status != 0``, and where to look for the reasons."""

    bound: BoundSet
    emptiness: Emptiness
    status: Tensor
    error: Tensor | None = None

    def report(self, policy: str) -> None:
        """Raise or warn, as the policy says; "nan" is silent, and so is "nearest" but for invalid samples."""
        messages = self._invalid()
        if messages and policy == "raise":
            raise ValueError("; ".join(messages))
        infeasible = self.status == int(Status.INFEASIBLE)
        if policy in ("raise", "warn") and bool(infeasible.any()):
            labels, message = self._infeasible(infeasible)
            if policy == "raise":
                raise InfeasibleError(message, labels, infeasible.flatten().nonzero().flatten().tolist())
            messages.append(message)
        unsolved = self.status == int(Status.UNSOLVED)
        if bool(unsolved.any()):
            message = f"the solver did not reach its accuracy for {name_rows(unsolved)}"
            residuals = [] if self.error is None else self.error[unsolved].tolist()
            if residuals:
                message += f": relative residuals of up to {max(residuals):.0e}"
            if policy == "raise":
                raise NotSolvedError(message, unsolved.flatten().nonzero().flatten().tolist(), residuals)
            if policy == "nearest":
                _warn(f"{message}. Their best iterates are returned.")
            else:
                messages.append(message)
        if messages and policy != "nan":
            _warn("; ".join(messages) + ". These samples are NaN.")

    def _invalid(self) -> list[str]:
        invalid = self.status == int(Status.INVALID)
        messages = []
        for what, bad in self.bound.problems:
            messages.append(f"{what} in {name_rows(bad)}" if bad.ndim else what)
            invalid = invalid & ~bad
        if bool(invalid.any()):
            messages.append(f"a point or a parameter is NaN or infinite in {name_rows(invalid)}")
        return messages

    def _infeasible(self, infeasible: Tensor) -> tuple[tuple[str, ...], str]:
        """Return the constraints at fault and the message, one part for each conflict."""
        groups, rest = [], infeasible
        for conflict in self.bound.compiled.find_conflicts(self.bound.values):
            samples = conflict.samples & rest
            if bool(samples.any()):
                groups.append((samples, conflict.constraints))
                rest = rest & ~samples
        groups += self.emptiness.explain(self.bound, rest)
        labels = dict.fromkeys(label for _, constraints in groups for label in constraints)
        parts = [f"the set is empty for {name_rows(s)}: no point satisfies {together(names)}" for s, names in groups]
        return tuple(labels), "; ".join(parts)


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=_user_level())


def _user_level() -> int:
    """Return the stack level of the caller's own code, for warnings."""
    level, frame = 1, inspect.currentframe()
    frame = None if frame is None else frame.f_back
    while frame is not None and frame.f_back is not None and frame.f_code.co_filename.startswith(_INTERNAL):
        level, frame = level + 1, frame.f_back
    return level
