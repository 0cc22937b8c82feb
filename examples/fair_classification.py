"""The price of fair decisions, against its closed form: `python examples/fair_classification.py`.

Two groups of applicants, A and B, of equal size. The chance `s` that an applicant is good is uniform between 0.4 and 1
in A, between 0 and 0.6 in B. Deciding by ``s > 1/2`` is most accurate, and accepts five times as many of A as of B.
With rates that differ by at most `g`, the most accurate decisions are thresholds at ``1/2 + t`` in A and ``1/2 - t`` in
B, with ``t = (0.4 - 0.6 g) / 2``, and the accuracy is ``43/60 - t^2 / 0.6``.

A logistic model is trained on drawn outcomes, and held to demographic parity in two ways:

- during training, with multipliers: a smooth surrogate of the rates for the gradient, the true rates for the
  multipliers;
- after training, by projection of the scores onto those whose means differ by at most the tolerance.

Printed: for each tolerance, the gap between the true rates, the accuracy, and the best accuracy at that gap. Written:
`fair_classification.png`. It needs `pip install "optlayers[examples]"`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from optlayers import Lagrangian
from optlayers.training import Inequality
from optlayers.training.priced.fair_projection import FairProjection
from optlayers.training.priced.fairness import FairnessConstraint

GAPS = (0.0, 0.1, 0.2, 0.35, 0.5, 0.7)
COLORS = {"multipliers": "#d9730d", "projection": "#1f5fa8"}


def best_accuracy(gap: float) -> float:
    """Return the accuracy of the best decisions whose rates differ by at most `gap`."""
    shift = max(0.0, (0.4 - 0.6 * gap) / 2)
    return 43 / 60 - shift**2 / 0.6


def make_data(size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return features ``(n, 3)``, groups, drawn labels, and the chances behind them."""
    place = (torch.arange(size // 2, dtype=torch.float64) + 0.5) / (size // 2)
    chances = torch.cat([0.4 + 0.6 * place, 0.6 * place])
    groups = torch.arange(2).repeat_interleave(size // 2)
    features = torch.cat([chances.logit().unsqueeze(1), F.one_hot(groups)], 1)
    return features, groups, torch.bernoulli(chances), chances


def accuracy(accepted: Tensor, chances: Tensor) -> float:
    """Return the expected share of right decisions."""
    return float(torch.where(accepted, chances, 1 - chances).mean())


def train(
    features: Tensor, groups: Tensor, labels: Tensor, constraint: FairnessConstraint | None, steps: int
) -> Tensor:
    """Fit a logistic model by descent in its weights and ascent in the multipliers; return its logits, ``(n,)``.

    Those are the ones of the most accurate step of the second half at which the true rates are within the tolerance,
    else of the step that is closest to it.
    """
    weights = torch.zeros(features.shape[1], dtype=features.dtype, requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    lagrangian = None
    if constraint is not None:
        parity = Inequality(constraint.value, proxy=constraint.proxy)
        lagrangian = Lagrangian(parity, lr=lambda step: 0.1 * (1 + math.cos(math.pi * step / steps)))
    best, result = (float("inf"), float("inf")), features @ weights.detach()
    for step in range(steps):
        logits = features @ weights
        objective = F.binary_cross_entropy_with_logits(logits, labels)
        excess = 0.0 if constraint is None else float(constraint.value(logits, groups).max())
        score = (max(0.0, excess - 1e-3), float(objective.detach()))
        if step >= steps // 2 and score < best:
            best, result = score, logits.detach()
        total = objective if lagrangian is None else lagrangian(objective, logits, groups)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        schedule.step()
        if lagrangian is not None:
            lagrangian.step()
    return result


def trace(size: int, steps: int, seed: int) -> dict[str, list[tuple[float, float, float]]]:
    """Return tolerance, gap and accuracy for each way and each tolerance of the gap."""
    torch.manual_seed(seed)
    features, groups, labels, chances = make_data(size)
    parity = FairnessConstraint("demographic_parity")
    free = train(features, groups, labels, None, steps)
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in COLORS}
    for gap in tqdm(GAPS, desc="tolerances"):
        # each group may differ from the mean of two groups of equal size by half the gap
        constraint = FairnessConstraint("demographic_parity", tolerance=gap / 2, temperature=0.5)
        held = train(features, groups, labels, constraint, steps)
        # the scores are uniform over an interval of length 0.6: rates differ by the difference of means over 0.6
        fair = FairProjection(groups, tolerance=0.6 * gap)(free.sigmoid())
        for name, logits in (("multipliers", held), ("projection", fair - 0.5)):
            found[name].append((gap, float(parity.gap(logits, groups)), accuracy(logits > 0, chances)))
    return found


def print_table(found: dict[str, list[tuple[float, float, float]]]) -> None:
    print(f"{'way':<14}{'tolerance':>10}{'gap':>9}{'accuracy':>10}{'best at that gap':>18}")
    for name, rows in found.items():
        for tolerance, gap, right in rows:
            print(f"{name:<14}{tolerance:>10.2f}{gap:>9.3f}{right:>10.4f}{best_accuracy(gap):>18.4f}")


def draw(found: dict[str, list[tuple[float, float, float]]]) -> Figure:
    figure = Figure(figsize=(6.5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    gaps = torch.linspace(0, 0.75, 100).tolist()
    axes.plot(gaps, [best_accuracy(gap) for gap in gaps], color="black", linewidth=1, label="best possible")
    for (name, rows), marker in zip(found.items(), "o^", strict=True):
        _, gap, right = zip(*rows, strict=True)
        axes.plot(gap, right, marker, color=COLORS[name], label=name, alpha=0.8)
    axes.set(xlabel="gap between the rates of acceptance", ylabel="accuracy")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="The trade-off between accuracy and demographic parity.")
    parser.add_argument("--size", type=int, default=4000)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "output", help="folder for the picture")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)

    found = trace(options.size, options.steps, options.seed)
    print_table(found)
    options.output.mkdir(parents=True, exist_ok=True)
    draw(found).savefig(options.output / "fair_classification.png", dpi=150)
    print(f"\nPicture: fair_classification.png in {options.output}")


if __name__ == "__main__":
    main()
