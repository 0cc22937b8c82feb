"""A callback of the Hugging Face Trainer: projection after each optimizer step, and the monitor."""

from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer

from optlayers.errors import extra
from optlayers.training.integrations.constraint_steps import ConstraintSteps

with extra("transformers"):
    from transformers import TrainerCallback, TrainerState


class ConstraintCallback(ConstraintSteps, TrainerCallback):
    """Keeps parameters to sets while a Hugging Face `Trainer` trains, and logs how that goes.

    Parameters are projected when training begins and after each optimizer step. Models whose parameters are sharded
    (FSDP, DeepSpeed) are not supported.

    Parameters
    ----------
    constraints, monitor, prefix, **options
        As for `ConstraintSteps`. The monitor's records go to its writers, and the latest one is added to what the
        trainer logs, in ``trainer.state.log_history``. The trainer does not save the monitor: keep
        ``monitor.state_dict()`` where that matters.

    Examples
    --------
    >>> callback = ConstraintCallback({"score.weight": [w >= 0]}, Monitor(every=50))  # doctest: +SKIP
    >>> Trainer(model, arguments, train_dataset=data, callbacks=[callback]).train()  # doctest: +SKIP
    """

    record: Mapping[str, float] = {}

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Find the parameters, and start inside the sets."""
        self.attach(kwargs["model"])
        self.start(state.global_step, _optimizers(kwargs))

    def on_optimizer_step(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Project and record, before gradients are cleared."""
        # the trainer counts the step later
        self.record = self.after_step(state.global_step + 1, _optimizers(kwargs)) or self.record

    def on_log(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Add the latest record to the log."""
        logs = kwargs.get("logs")
        if self.record and logs is not None and "loss" in logs:
            logs.update(self.record)
            if state.log_history:
                state.log_history[-1].update(self.record)


def _optimizers(arguments: dict[str, Any]) -> list[Optimizer]:
    """Return the trainer's optimizer, out of the wrapping that Accelerate gives it."""
    optimizer = arguments.get("optimizer")
    return [] if optimizer is None else [getattr(optimizer, "optimizer", optimizer)]
