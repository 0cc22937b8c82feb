"""The callbacks, in the real training loops: tiny models, few steps, CPU."""

from pathlib import Path

import cvxpy as cp
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from optlayers import FeasibleSet
from optlayers.training.integrations.constraint_steps import ConstraintSteps
from optlayers.training.monitoring.monitor import Monitor
from optlayers.training.schedules.scheduled_set import ScheduledSet


def simplex(n: int) -> FeasibleSet:
    w = cp.Variable(n, name="w")
    return FeasibleSet([w >= 0, cp.sum(w) == 1])


def capped(n: int) -> ScheduledSet:
    """Return a box whose cap falls by 0.05 a step."""
    w, cap = cp.Variable(n, name="w"), cp.Parameter(name="cap")
    return ScheduledSet([w >= -1, w <= cap], cap=lambda step: 1.0 - 0.05 * step)


def data(n: int = 32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 4, generator=generator)
    return x, x @ torch.tensor([[0.7, 0.3, 0.0, 0.0], [2.0, -1.0, 0.0, 0.0]]).T + 5.0


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 2))


CONSTRAINTS = {"0.weight": simplex(4), "*.bias": capped(2)}


def by_hand(steps: int, batches: list[tuple[Tensor, Tensor]], accumulate: int = 1) -> nn.Module:
    """Train as the loops should: project at the start, and after each step onto the set of that step."""
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    bound, moving = simplex(4), capped(2)

    def project(step: int) -> None:
        with torch.no_grad():
            net[0].weight.copy_(bound.project(net[0].weight))
            for layer in net:
                layer.bias.copy_(moving.at(step).project(layer.bias))

    project(0)
    for step in range(steps):
        optimizer.zero_grad()
        for k in range(accumulate):
            x, y = batches[(step * accumulate + k) % len(batches)]
            (nn.functional.mse_loss(net(x), y) / accumulate).backward()
        optimizer.step()
        project(step + 1)
    return net


def batches(size: int = 8) -> list[tuple[Tensor, Tensor]]:
    x, y = data()
    return list(zip(x.split(size), y.split(size), strict=True))


def test_parameters_are_found_by_name_and_pattern() -> None:
    net = network()
    steps = ConstraintSteps(CONSTRAINTS)
    steps.attach(net)
    steps.start(10)
    assert float(simplex(4).violation(net[0].weight.detach()).max()) < 1e-6
    assert max(float(layer.bias.detach().max()) for layer in net) <= 0.5 + 1e-6
    with pytest.raises(ValueError, match=r"no parameter is called 'head'; there are 0\.weight, 0\.bias"):
        ConstraintSteps({"head": simplex(4)}).attach(net)
    with pytest.raises(ValueError, match="fits both"):
        ConstraintSteps({"0.bias": capped(2), "*.bias": capped(2)}).attach(net)
    with pytest.raises(ValueError, match=r"0\.weight has the shape"):
        ConstraintSteps({"0.weight": simplex(3)}).attach(net)


# Lightning advises to load data in more processes, and calls a function that newer releases of torch have renamed.
lightning_warnings = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"),
]


def lightning_module():
    pl = pytest.importorskip("lightning.pytorch")

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
            x, y = batch
            return nn.functional.mse_loss(self.net(x), y)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return pl, Module()


def fit(pl, module, callback, tmp_path: Path, *, steps: int, resume: Path | None = None, **options):
    trainer = pl.Trainer(
        max_steps=steps,
        accelerator="cpu",
        callbacks=[callback],
        default_root_dir=tmp_path,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=options.pop("logger", False),
        log_every_n_steps=1,
        enable_checkpointing=False,
        **options,
    )
    x, y = data()
    loader = DataLoader(TensorDataset(x, y), batch_size=8)
    trainer.fit(module, loader, ckpt_path=resume)
    return trainer


def prefixed(prefix: str) -> dict:
    return {(name if name.startswith("*") else prefix + name): held for name, held in CONSTRAINTS.items()}


class TestLightning:
    pytestmark = lightning_warnings

    @pytest.mark.parametrize("accumulate", [1, 2])
    def test_projects_after_each_step(self, accumulate: int, tmp_path: Path) -> None:
        pl, module = lightning_module()
        from optlayers.training.integrations.lightning import ConstraintCallback

        callback = ConstraintCallback(prefixed("net."))
        fit(pl, module, callback, tmp_path, steps=6, accumulate_grad_batches=accumulate)
        expected = by_hand(6, batches(), accumulate)
        for ours, theirs in zip(module.net.parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs)
        assert float(module.net[1].bias.detach().max()) == pytest.approx(0.7), "the cap of the last step"

    def test_the_monitor_logs_through_the_trainer(self, tmp_path: Path) -> None:
        pl, module = lightning_module()
        from lightning.pytorch.loggers import CSVLogger

        from optlayers.training.integrations.lightning import ConstraintCallback

        logger = CSVLogger(tmp_path)
        monitor = Monitor(every=2)
        callback = ConstraintCallback(prefixed("net."), monitor)
        trainer = fit(pl, module, callback, tmp_path, steps=5, logger=logger)
        assert float(trainer.callback_metrics["constraints/net.0.weight/violation_max"]) < 1e-6
        assert [step for step, _ in monitor.history.records] == [2, 4]
        assert min(monitor.history.series("net.0.weight", "distance")) > 0, "what the callback moved"
        assert min(monitor.history.series("net.0.weight", "gradient")) > 0
        assert "constraints/net.0.weight/distance" in (Path(logger.log_dir) / "metrics.csv").read_text()

    def test_checkpoints_carry_the_monitor(self, tmp_path: Path) -> None:
        pl, module = lightning_module()
        from optlayers.training.integrations.lightning import ConstraintCallback

        first = ConstraintCallback(prefixed("net."), Monitor(every=2))
        trainer = fit(pl, module, first, tmp_path, steps=4)  # an epoch
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        _, again = lightning_module()
        second = ConstraintCallback(prefixed("net."), Monitor(every=2))
        fit(pl, again, second, tmp_path, steps=6, resume=tmp_path / "last.ckpt")
        assert second.monitor is not None
        assert [step for step, _ in second.monitor.history.records] == [2, 4, 6]
        assert float(again.net[1].bias.detach().max()) == pytest.approx(0.7), "the schedule goes on"


class TestTransformers:
    def train(self, tmp_path: Path, monitor: Monitor | None, steps: int):
        transformers = pytest.importorskip("transformers")
        pytest.importorskip("accelerate")
        from optlayers.training.integrations.transformers import ConstraintCallback

        class Model(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net = network()

            def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
                output = self.net(x)
                return {"loss": nn.functional.mse_loss(output, labels), "logits": output}

        class Sequential(transformers.Trainer):
            def _get_train_sampler(self, *_: object) -> torch.utils.data.Sampler:
                return torch.utils.data.SequentialSampler(self.train_dataset)

        arguments = transformers.TrainingArguments(
            output_dir=str(tmp_path),
            max_steps=steps,
            per_device_train_batch_size=8,
            learning_rate=0.1,
            lr_scheduler_type="constant",
            max_grad_norm=0.0,
            optim="sgd",
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            log_level="error",
        )
        x, y = data()
        rows = [{"x": a, "labels": b} for a, b in zip(x, y, strict=True)]
        callback = ConstraintCallback(prefixed("net."), monitor)
        trainer = Sequential(Model(), arguments, train_dataset=rows, callbacks=[callback])
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
        return trainer

    def test_projects_after_each_step(self, tmp_path: Path) -> None:
        trainer = self.train(tmp_path, None, 6)
        for ours, theirs in zip(trainer.model.net.parameters(), by_hand(6, batches()).parameters(), strict=True):
            torch.testing.assert_close(ours, theirs)

    def test_the_monitor_adds_to_the_log(self, tmp_path: Path) -> None:
        monitor = Monitor(every=2)
        trainer = self.train(tmp_path, monitor, 5)
        assert [step for step, _ in monitor.history.records] == [2, 4]
        assert min(monitor.history.series("net.0.weight", "distance")) > 0
        assert min(monitor.history.series("net.0.weight", "gradient")) > 0
        logged = [line for line in trainer.state.log_history if "loss" in line]
        assert len(logged) == 5
        assert all(line["constraints/net.0.weight/violation_max"] < 1e-6 for line in logged[1:])
