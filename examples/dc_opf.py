"""Power dispatch on the IEEE 118-bus system by a network that obeys the grid: `python examples/dc_opf.py`.

Optimal power flow asks for the cheapest outputs of a grid's generators that meet the loads, within the limits of
generators and lines. A network answers at once for loads it has not seen, but its answers must be feasible. With flows
in the DC approximation, linear in outputs and loads, the feasible outputs for given loads form a polyhedron:

- outputs sum to the total load (balance), each within the limits of its generator;
- flows, PTDF @ (outputs at their buses - loads), are within the limits of their lines, in both directions.

A network whose last layer projects onto that set is trained on the cost, with a small pull towards the set and no
optimum to copy. Beside it, the same network pays a penalty on squared violations instead, at three weights and over
four times the epochs, because its steps are cheap.
Printed: what the set was recognised as; on test loads, each network's cost gap to the true optimum (CVXPY with
Clarabel) and its violation. Written: `dispatch.png`. It needs `pip install "optlayers[examples]"`.

Grid and costs are in `power_grid.py`. Lines that can never reach their limit are left out of the set.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import cvxpy as cp
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from power_grid import BASE, COMMON, OWN, Grid, can_bind, draw_loads, load_grid
from torch import Tensor, nn
from tqdm import tqdm

from optlayers import ProjectionLayer

HIDDEN, BATCH, LEARNING_RATE = 256, 64, 3e-3
PULL, PENALTIES, PATIENCE = 1e-3, (0.1, 1.0, 10.0), 4
COLORS = {0.1: "#f2b880", 1.0: "#d9730d", 10.0: "#8a3b00"}
LEAST_SHOWN = 1e-13  # MW
BLUE, GREY = "#1f5fa8", "#9a9a9a"


class Dispatch:
    """The feasible outputs for given loads, in CVXPY: one declaration for the layer and for the true optimum.

    Loads enter by their sum, `demand`, and by the flows that they cause alone, `load_flow`.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid, self.kept = grid, can_bind(grid)
        limit = grid.limit[self.kept].numpy()
        self.outputs = cp.Variable(len(grid.upper), name="outputs", bounds=[grid.lower.numpy(), grid.upper.numpy()])
        self.demand = cp.Parameter(name="demand")
        self.load_flow = cp.Parameter(len(limit), name="load_flow")
        flow = grid.by_generator[self.kept].numpy() @ self.outputs - self.load_flow
        self.constraints = [cp.sum(self.outputs) == self.demand, flow <= limit, flow >= -limit]

    def layer(self) -> ProjectionLayer:
        return ProjectionLayer(self.constraints, self.outputs, [self.demand, self.load_flow])

    def values(self, loads: Tensor) -> tuple[Tensor, Tensor]:
        """Return the two parameters for loads ``(batch, buses)``."""
        return loads.sum(-1), loads @ self.grid.by_load[self.kept].mT

    def optimum(self, loads: Tensor) -> Tensor:
        """Return the cheapest outputs for each of the loads, ``(batch, generators)``."""
        cost = self.grid.quadratic.numpy() @ self.outputs**2 + self.grid.linear.numpy() @ self.outputs
        problem, found = cp.Problem(cp.Minimize(cost), self.constraints), []
        for demand, load_flow in tqdm(zip(*self.values(loads), strict=True), "optimum", len(loads), unit="load"):
            self.demand.value, self.load_flow.value = demand.item(), load_flow.numpy()
            problem.solve(solver=cp.CLARABEL)
            if problem.status != cp.OPTIMAL:
                raise RuntimeError(f"Clarabel found no optimum: {problem.status}")
            found.append(self.outputs.value)
        return torch.tensor(np.array(found))


class Dispatcher(nn.Module):
    """From loads to outputs: a perceptron, into the range of each generator, then the projection if there is one."""

    def __init__(self, dispatch: Dispatch, start: Tensor, layer: ProjectionLayer | None) -> None:
        super().__init__()
        self.dispatch, self.layer = dispatch, layer
        self.loaded = dispatch.grid.loads > 0
        last = nn.Linear(HIDDEN, len(start))
        share = (start - dispatch.grid.lower) / (dispatch.grid.upper - dispatch.grid.lower)
        with torch.no_grad():  # all networks start near the cheapest outputs for the nominal loads
            last.bias.copy_(share.clamp(0.02, 0.98).logit())
        first = nn.Linear(int(self.loaded.sum()), HIDDEN)
        self.network = nn.Sequential(first, nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), last).double()

    def forward(self, loads: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the network says and what is dispatched, both ``(batch, generators)``."""
        grid = self.dispatch.grid
        relative = (loads / grid.loads)[:, self.loaded] - 1
        raw = grid.lower + (grid.upper - grid.lower) * self.network(relative / (COMMON + OWN)).sigmoid()
        return raw, raw if self.layer is None else self.layer(raw, *self.dispatch.values(loads))


def train_epoch(model: Dispatcher, optimizer: torch.optim.Adam, loads: Tensor, scale: float, weight: float) -> float:
    """Go through the loads once; return the mean relative cost of the batches."""
    grid, costs = model.dispatch.grid, []
    for batch in loads[torch.randperm(len(loads))].split(BATCH):
        raw, outputs = model(batch)
        excess = grid.violations(raw, batch) if model.layer is None else raw - outputs
        cost = grid.cost(outputs).mean() / scale
        optimizer.zero_grad()
        (cost + weight * excess.square().sum(-1).mean()).backward()
        optimizer.step()
        costs.append(cost.item())
    return sum(costs) / len(costs)


def train(model: Dispatcher, loads: Tensor, scale: float, weight: float, epochs: int, name: str) -> Dispatcher:
    """Minimise the cost, divided by `scale`, and `weight` times a squared distance or violation, with Adam.

    With a projection, the distance is that from the raw outputs to the projected ones. A projection passes no gradient
    to outputs that it holds at a limit: the pull keeps the raw outputs near the set, where few are held.
    """
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    with tqdm(range(epochs), f"{name:11}", unit="epoch") as progress:
        for _ in progress:
            cost = train_epoch(model, optimizer, loads, scale, weight)
            schedule.step()
            progress.set_postfix(cost=f"{cost:.4f} of nominal")
    return model


def congested(grid: Grid, outputs: Tensor, loads: Tensor) -> Tensor:
    """Return which lines are at their limits: ``(batch, lines)``."""
    return grid.flows(outputs, loads).abs() > grid.limit - 1e-4


@dataclass(frozen=True)
class Result:
    """Outputs for the test loads, with their gap to the true optimum in percent and largest violation in MW."""

    name: str
    outputs: Tensor
    gap: Tensor
    violation: Tensor

    @staticmethod
    def of(name: str, outputs: Tensor, grid: Grid, loads: Tensor, optimum: Tensor) -> Result:
        gap = 100 * (grid.cost(outputs) / grid.cost(optimum) - 1)
        return Result(name, outputs, gap, BASE * grid.violations(outputs, loads).amax(-1))


def print_table(results: list[Result]) -> None:
    width = max(len(result.name) for result in results)
    titles = " " * width + "".join(f"{title:>10}" for title in ("mean", "worst", "mean", "worst"))
    print(f"{'cost gap, %':>{width + 20}}{'violation, MW':>20}", titles, "-" * len(titles), sep="\n")
    for result in results:
        gaps = "".join(f"{value:>10.3f}" for value in (result.gap.mean(), result.gap.max()))
        sizes = (result.violation.mean(), result.violation.max())
        violations = "".join(f"{value:>10.1f}" if value > 0.1 else f"{value:>10.0e}" for value in sizes)
        print(f"{result.name:<{width}}{gaps}{violations}")


def draw_trade(axes: Axes, projected: Result, penalties: dict[float, Result]) -> None:
    """Draw a point for each test load and network: its violation and its cost gap."""
    shown = [(projected, "projection", BLUE)]
    shown += [(result, f"penalty, weight {weight:g}", COLORS[weight]) for weight, result in penalties.items()]
    for result, label, color in shown:
        violation = result.violation.clamp_min(LEAST_SHOWN)
        axes.scatter(violation, result.gap, s=16, alpha=0.6, linewidths=0, color=color, label=label)
    axes.axhline(0, color="black", linewidth=0.8, zorder=0)
    axes.set_xscale("log")
    axes.set(xlabel="largest violation, MW", ylabel="cost above the true optimum, %")
    axes.set_title("Cost and feasibility, a point for each test load", loc="left")
    axes.legend(frameon=False, loc="upper left", markerscale=1.5)


def draw_line(axes: Axes, grid: Grid, line: int, loads: Tensor, shown: dict[str, Tensor]) -> None:
    """Draw the flow of a line against the total load, a point for each test load."""
    total, limit = BASE * loads.sum(-1), BASE * grid.limit[line].item()
    styles = ((60, GREY, 0.35), (16, COLORS[1.0], 0.7), (16, BLUE, 0.7))
    for (label, outputs), (size, color, alpha) in zip(shown.items(), styles, strict=True):
        flow = BASE * grid.flows(outputs, loads)[:, line].abs()
        axes.scatter(total, flow, s=size, color=color, alpha=alpha, linewidths=0, label=label)
    axes.axhline(limit, color="black", linestyle=":", linewidth=1.2)
    corner = (total.min().item(), limit)
    axes.annotate(f"limit {limit:.0f} MW", corner, xytext=(0, 6), textcoords="offset points", fontsize=9)
    axes.margins(y=0.15)  # room for the legend
    axes.set(xlabel="total load, MW", ylabel="flow, MW")
    axes.set_title(f"Flow of line {grid.names[line]}", loc="left")
    axes.legend(frameon=False, loc="lower center", ncols=3, markerscale=1.2)


def draw(grid: Grid, loads: Tensor, optimum: Tensor, projected: Result, penalties: dict[float, Result]) -> Figure:
    """Draw cost against violation, and the flow of the line whose congestion depends most on the loads."""
    figure = Figure(figsize=(12, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_trade(left, projected, penalties)
    share = congested(grid, optimum, loads).double().mean(0)
    shown = {"optimum": optimum, "penalty, weight 1": penalties[1.0].outputs, "projection": projected.outputs}
    draw_line(right, grid, int((share - 0.5).abs().argmin()), loads, shown)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description="Power dispatch by a network that obeys the grid.")
    parser.add_argument("--epochs", type=int, default=20, help=f"with a penalty, {PATIENCE} times as many")
    parser.add_argument("--loads", type=int, default=4096, help="number of training loads")
    parser.add_argument("--tests", type=int, default=256, help="number of test loads")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "output", help="folder for the picture")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the matrices are so small that more threads only wait for each other

    grid = load_grid()
    dispatch = Dispatch(grid)
    layer = dispatch.layer()
    print(f"{int(dispatch.kept.sum())} of {len(grid.limit)} lines can reach their limit. The feasible outputs:")
    print(layer.explain(), "", sep="\n")

    train_loads = draw_loads(grid, arguments.loads, arguments.seed)
    test_loads = draw_loads(grid, arguments.tests, arguments.seed + 1)
    start, *optima = dispatch.optimum(torch.cat([grid.loads.unsqueeze(0), test_loads]))
    optimum = torch.stack(optima)
    at_limit = congested(grid, optimum, test_loads)
    print(f"In the optimum, {at_limit.sum(-1).double().mean():.1f} lines are congested on average, ", end="")
    print(f"{at_limit.any(0).sum()} for some test load.\n")

    def fit(weight: float, own: ProjectionLayer | None) -> Dispatcher:
        torch.manual_seed(arguments.seed)
        model = Dispatcher(dispatch, start, own)
        name, epochs = ("projection", arguments.epochs) if own else (f"penalty {weight:g}", PATIENCE * arguments.epochs)
        return train(model, train_loads, grid.cost(start).item(), weight, epochs, name)

    def result(name: str, outputs: Tensor) -> Result:
        return Result.of(name, outputs, grid, test_loads, optimum)

    model = fit(PULL, layer)
    rivals = {weight: fit(weight, None) for weight in PENALTIES}
    with torch.no_grad():
        values = dispatch.values(test_loads)
        projected = result("projection layer", model(test_loads)[1])
        penalties = {w: result(f"penalty, weight {w:g}", rival(test_loads)[1]) for w, rival in rivals.items()}
        repaired = [result(f"{r.name}, then projected", layer(r.outputs, *values)) for r in penalties.values()]
        constant = result("nominal optimum, projected", layer(start, *values))

    print(f"\nOn {len(test_loads)} test loads:")
    print_table([projected, *penalties.values(), *repaired, constant])
    print("\nBelow zero, an answer is cheaper than any feasible one: it violates limits to save cost.")
    arguments.output.mkdir(parents=True, exist_ok=True)
    draw(grid, test_loads, optimum, projected, penalties).savefig(arguments.output / "dispatch.png", dpi=150)
    print(f"Picture: dispatch.png in {arguments.output}")


if __name__ == "__main__":
    main()
