"""A Lightning callback: projection after each optimizer step, and the monitor."""

from typing import Any

from optlayers.errors import extra
from optlayers.training.integrations.constraint_steps import ConstraintSteps

with extra("lightning"):
    from lightning.pytorch import Callback, LightningModule, Trainer


class ConstraintCallback(ConstraintSteps, Callback):
    """Keeps parameters to sets while a Lightning `Trainer` fits, and logs how that goes.

    Parameters are projected when training starts and after each optimizer step; with accumulated gradients, only
    where there was one. Strategies that shard parameters (FSDP, DeepSpeed) are not supported.

    Parameters
    ----------
    constraints, monitor, prefix, **options
        As for `ConstraintSteps`. The monitor's records go to the module's ``log_dict``, so to the trainer's loggers
        and to ``trainer.callback_metrics``. It is saved in checkpoints.

    Examples
    --------
    >>> callback = ConstraintCallback({"head.weight": [w >= 0, cp.sum(w) == 1]}, Monitor(every=50))  # doctest: +SKIP
    >>> Trainer(callbacks=[callback]).fit(module, loader)  # doctest: +SKIP
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the parameters, before a checkpoint is restored."""
        if stage == "fit":
            self.attach(pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start inside the sets."""
        self.start(trainer.global_step, trainer.optimizers)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Project and record, if the optimizer made a step."""
        if trainer.global_step == self.clock.steps:
            return
        record = self.after_step(trainer.global_step, trainer.optimizers)
        if record:
            pl_module.log_dict(record, on_step=True)

    def state_dict(self) -> dict[str, Any]:
        """Return the monitor's state."""
        return {} if self.monitor is None else {"monitor": self.monitor.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Let the monitor go on."""
        if self.monitor is not None and "monitor" in state_dict:
            self.monitor.load_state_dict(state_dict["monitor"])
