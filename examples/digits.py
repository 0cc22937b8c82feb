"""Handwritten digits as sparse, capped mixtures of learnt archetypes: `python examples/digits.py`.

An encoder turns a digit into 24 weights, and the digit is rebuilt as that mixture of 24 archetypes. Two convex sets
keep the model readable:

- weights are nonnegative, sum to one and none exceeds 0.4: the last layer projects onto that set, so every code is in
  it by construction, with exact zeros for the archetypes that a digit does not use;
- archetypes are images, every pixel between 0 and 1: they are projected back after each optimizer step.

The same network with softmax in place of the projection is trained beside it. Printed: what each set was recognised
as, how both networks do on test digits, and the projection against the reference solver. Written: `archetypes.png`
and `code.png`. It needs `pip install "optlayers[examples]"`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cvxpy as cp
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from optlayers import FeasibleSet, ProjectionLayer, compare

ARCHETYPES, PIXELS, HIDDEN = 24, 64, 128
CAP = 0.4
USED = 1e-6
COLORS = {"projection": "#1f5fa8", "softmax": "#d9730d"}


class Mixture(nn.Module):
    """Rebuilds digits from archetypes, with weights that `to_weights` makes of the encoder's scores."""

    def __init__(self, to_weights: nn.Module, examples: Tensor) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(PIXELS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, ARCHETYPES))
        self.to_weights = to_weights
        self.archetypes = nn.Parameter(examples[torch.randperm(len(examples))[:ARCHETYPES]].clone())

    def forward(self, digits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return scores and weights, both (batch, archetypes), and the rebuilt digits, (batch, pixels)."""
        scores = self.encoder(digits)
        weights = self.to_weights(scores)
        return scores, weights, weights @ self.archetypes


def load(seed: int) -> tuple[Tensor, Tensor]:
    """Return training and test digits, pixels scaled to [0, 1]."""
    pixels, _ = load_digits(return_X_y=True)
    parts = train_test_split(pixels / 16, test_size=0.2, random_state=seed)
    return torch.tensor(parts[0], dtype=torch.float32), torch.tensor(parts[1], dtype=torch.float32)


def train_epoch(model: Mixture, optimizer: torch.optim.Adam, box: FeasibleSet, digits: Tensor, pull: float) -> float:
    """Go through the digits once; return the mean reconstruction loss of the batches."""
    losses = []
    for batch in digits[torch.randperm(len(digits))].split(64):
        scores, weights, rebuilt = model(batch)
        loss = F.mse_loss(rebuilt, batch)
        optimizer.zero_grad()
        (loss + pull * F.mse_loss(scores, weights)).backward()
        optimizer.step()
        with torch.no_grad():
            model.archetypes.copy_(box.project(model.archetypes))
        losses.append(loss.item())
    return sum(losses) / len(losses)


def train(to_weights: nn.Module, box: FeasibleSet, digits: Tensor, pull: float, epochs: int, seed: int) -> Mixture:
    """Train with Adam; after each step, project every archetype onto `box`.

    `pull` weighs the squared distance from the scores to the weights. A projection passes no gradient to the entries
    it sets to zero, so an archetype that no digit uses would stay unused: the pull keeps scores near the set, where
    every archetype can come back. Softmax has no zeros and needs no pull.
    """
    torch.manual_seed(seed)
    model = Mixture(to_weights, digits)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    with tqdm(range(epochs), desc=f"{type(to_weights).__name__:15}", unit="epoch") as progress:
        for _ in progress:
            loss = train_epoch(model, optimizer, box, digits, pull)
            schedule.step()
            progress.set_postfix(rmse=f"{loss**0.5:.4f}")
    return model


@torch.no_grad()
def measure(model: Mixture, digits: Tensor, simplex: FeasibleSet, box: FeasibleSet) -> dict[str, str]:
    _, weights, rebuilt = model(digits)
    return {
        "reconstruction error (RMSE, pixels in [0, 1])": f"{F.mse_loss(rebuilt, digits).sqrt():.4f}",
        "archetypes used per digit (weight > 1e-6)": f"{(weights > USED).sum(-1).double().mean():.1f}",
        "  of these, with a weight > 0.01": f"{(weights > 0.01).sum(-1).double().mean():.1f}",
        "archetypes that no digit uses": f"{(weights <= USED).all(0).sum()}",
        f"largest weight (cap {CAP})": f"{weights.max():.4f}",
        "digits with a weight above the cap": f"{(weights > CAP + USED).any(-1).double().mean():.0%}",
        "violation of the weights' set (float32)": f"{simplex.violation(weights).max():.1e}",
        "violation of the archetypes' box (float32)": f"{box.violation(model.archetypes).max():.1e}",
    }


def print_table(columns: dict[str, dict[str, str]]) -> None:
    rows = next(iter(columns.values())).keys()
    width = max(map(len, rows))
    title = " " * width + "".join(f"{name:>14}" for name in columns)
    print(title, "-" * len(title), sep="\n")
    for row in rows:
        print(f"{row:<{width}}" + "".join(f"{column[row]:>14}" for column in columns.values()))


def show_image(axes: Axes, pixels: Tensor, title: str) -> None:
    axes.imshow(pixels.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
    axes.set_title(title, fontsize=9)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color("#bbbbbb")


@torch.no_grad()
def draw_archetypes(model: Mixture, digits: Tensor) -> Figure:
    """Draw all archetypes, those that carry the most weight first."""
    _, weights, _ = model(digits)
    share = weights.mean(0)
    figure = Figure(figsize=(8, 6.2), layout="constrained")
    figure.suptitle("Learnt archetypes, with the share of the weight that each carries over the test digits")
    for place, k in enumerate(share.argsort(descending=True)):
        axes = figure.add_subplot(4, ARCHETYPES // 4, place + 1)
        show_image(axes, model.archetypes[k], f"{share[k]:.1%}")
    return figure


def draw_row(row: SubFigure, name: str, digit: Tensor, model: Mixture) -> None:
    """Draw a digit, its reconstruction, its weights, and the archetypes it uses, largest weight first."""
    _, weights, rebuilt = model(digit)
    order = weights.argsort(descending=True)
    used = int((weights > USED).sum())
    shown = order[: min(used, 10)]
    rest = f", {used - len(shown)} smaller ones not shown" if used > len(shown) else ""
    row.suptitle(f"{name}: {used} of {ARCHETYPES} archetypes used{rest}", color=COLORS[name], fontweight="bold")
    grid = row.add_gridspec(2, 10, width_ratios=[2, 2, 0.4, 4, 0.2] + [1] * 5)
    show_image(row.add_subplot(grid[:, 0]), digit, "test digit")
    show_image(row.add_subplot(grid[:, 1]), rebuilt, f"reconstruction, RMSE {F.mse_loss(rebuilt, digit).sqrt():.3f}")
    bars = row.add_subplot(grid[:, 3])
    bars.bar(range(ARCHETYPES), weights[order].tolist(), color=COLORS[name])
    bars.axhline(CAP, color="black", linestyle=":", linewidth=1)
    bars.text(ARCHETYPES - 0.5, CAP + 0.015, f"cap {CAP}", ha="right", fontsize=9)
    bars.set(ylim=(0, 1), xlabel="archetypes, largest weight first", ylabel="weight", xticks=[])
    bars.spines[["top", "right"]].set_visible(False)
    for place, k in enumerate(shown):
        show_image(row.add_subplot(grid[place // 5, 5 + place % 5]), model.archetypes[k], f"{weights[k]:.3f}")


@torch.no_grad()
def draw_code(models: dict[str, Mixture], digit: Tensor) -> Figure:
    figure = Figure(figsize=(13, 6), layout="constrained")
    grid = figure.add_gridspec(len(models), 1)
    for place, (name, model) in enumerate(models.items()):
        draw_row(figure.add_subfigure(grid[place]), name, digit, model)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description="Handwritten digits as sparse mixtures of learnt archetypes.")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "output", help="folder for the pictures")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the matrices are so small that more threads only wait for each other

    weights = cp.Variable(ARCHETYPES, name="weights")
    layer = ProjectionLayer([weights >= 0, cp.sum(weights) == 1, weights <= CAP])
    box = FeasibleSet([], cp.Variable(PIXELS, name="archetype", bounds=[0, 1]))
    print("The weights of a digit:", layer.explain(), "", "An archetype:", box.explain(), "", sep="\n")

    train_digits, test_digits = load(arguments.seed)
    models = {
        "projection": train(layer, box, train_digits, 1e-3, arguments.epochs, arguments.seed),
        "softmax": train(nn.Softmax(-1), box, train_digits, 0.0, arguments.epochs, arguments.seed),
    }
    print(f"\nOn {len(test_digits)} test digits:")
    print_table({name: measure(model, test_digits, layer.feasible_set, box) for name, model in models.items()})

    print("\nThe projection of 64 score vectors, in float64, against the reference solver:")
    compare(layer, models["projection"].encoder(test_digits[:64]).detach().double())

    arguments.output.mkdir(parents=True, exist_ok=True)
    draw_archetypes(models["projection"], test_digits).savefig(arguments.output / "archetypes.png", dpi=150)
    draw_code(models, test_digits[0]).savefig(arguments.output / "code.png", dpi=150)
    print(f"\nPictures: archetypes.png and code.png in {arguments.output}")


if __name__ == "__main__":
    main()
