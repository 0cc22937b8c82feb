"""A callback of the Hugging Face Trainer: projection after each optimizer step, and the monitor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from optlayers.training.integrations.constraint_steps import ConstraintSteps
from optlayers.training.monitoring.monitor import Monitor
from optlayers.training.schedules.scheduled_set import Constraints, ScheduledSet

try:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ImportError as error:
    raise ImportError('Transformers is not installed: pip install "optlayers[transformers]"') from error


class ConstraintCallback(TrainerCallback):
    """Keeps parameters to sets while a Hugging Face `Trainer` trains, and logs how that goes.

    Parameters are projected when training begins and after each optimizer step. Models whose parameters are sharded
    (FSDP, DeepSpeed) are not supported.

    Parameters
    ----------
    constraints : mapping, optional
        From names of the model's parameters, or patterns such as ``"*.weight"``, to constraints, a FeasibleSet or a
        ScheduledSet, whose step counts the trainer's optimizer steps.
    monitor : Monitor, optional
        Watches these parameters and whatever else it was told to. Its records go to its own writers, and its latest
        record is added to what the trainer logs, in ``trainer.state.log_history``. The trainer does not save it: keep
        ``monitor.state_dict()`` where that matters.
    prefix : str
        Of the logged keys.
    **options
        ``every``, ``metric``, ``clear_momentum`` and ``project_now``, as for `project_after_step`.

    Examples
    --------
    >>> callback = ConstraintCallback({"score.weight": [w >= 0]}, Monitor(every=50))  # doctest: +SKIP
    >>> Trainer(model, arguments, train_dataset=data, callbacks=[callback]).train()  # doctest: +SKIP
    """

    def __init__(
        self,
        constraints: Mapping[str, Constraints | ScheduledSet] | None = None,
        monitor: Monitor | None = None,
        *,
        prefix: str = "constraints/",
        **options: Any,
    ) -> None:
        self.steps = ConstraintSteps(constraints or {}, monitor, prefix, **options)
        self.monitor = monitor
        self._record: dict[str, float] = {}

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        """Find the parameters, and start inside the sets."""
        assert model is not None
        self.steps.attach(model)
        self.steps.start(state.global_step, _optimizers(kwargs))

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Project and record, before gradients are cleared."""
        record = self.steps.after_step(state.global_step + 1, _optimizers(kwargs))  # counted by the trainer later
        self._record = record or self._record

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the latest record to the log."""
        if self._record and logs is not None and "loss" in logs:
            logs.update(self._record)
            if state.log_history:
                state.log_history[-1].update(self._record)


def _optimizers(arguments: dict[str, Any]) -> list[Optimizer]:
    """Return the trainer's optimizer, out of the wrapping that Accelerate gives it."""
    optimizer = arguments.get("optimizer")
    return [] if optimizer is None else [getattr(optimizer, "optimizer", optimizer)]
