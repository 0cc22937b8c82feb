"""Closed forms against `torch.softmax`, `torch.clamp`, other projections and the sort formula: same tensors, one run.

Every contestant is checked against a float64 oracle first (the sort formula; bisection for weights and bounds), and no
time is printed for a wrong one. The contestants are timed in turn, and ratios to softmax are what counts. The script is
the same on a GPU, where it also tells the share of the measured copy bandwidth. Peers come with
`pip install "optlayers[peers]"`. Run with `python benchmarks/closed_forms.py`; `--device cuda` for a GPU.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec

import cvxpy as cp
import numpy as np
import torch
from report import brief, heading, publish, row, table
from scipy import optimize
from torch import Tensor
from torch.utils.benchmark import Timer

from optlayers import FeasibleSet
from optlayers.sets.sum_largest import SumLargest

Project = Callable[[Tensor], Tensor]
_SIZES = {
    "cpu": ((1024, 10), (1024, 100), (1024, 1000), (64, 100_000), (1, 10_000_000)),
    "cuda": ((1024, 100), (1024, 1000), (65_536, 1000), (64, 100_000), (1, 100_000_000)),
}
_TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 8e-3, torch.float16: 1e-3}
_LARGEST_EXACT = 1 << 27  # entries of which the oracle is taken
_ROUNDS = 7
_TITLES = (
    "size",
    "dtype",
    "support",
    "contestant",
    "error",
    "forward, ms",
    "/ first",
    "with gradient, ms",
    "/ first",
)


@dataclass
class Contestant:
    """A function from points to points, what it should return, and its times so far."""

    name: str
    project: Project
    oracle: Project | None = None
    note: str = ""
    error: float = float("nan")
    forward: list[float] = field(default_factory=list)
    gradient: list[float] = field(default_factory=list)


def sort_formula(v: Tensor) -> Tensor:
    """Project onto the simplex (Held, Wolfe and Crowder, 1974)."""
    descending = v.sort(-1, descending=True).values
    excess = descending.cumsum(-1) - 1
    count = torch.arange(1, v.shape[-1] + 1, device=v.device, dtype=v.dtype)
    support = (descending * count > excess).sum(-1, keepdim=True)
    return (v - excess.gather(-1, support - 1) / support).clamp_min(0)


def l1_formula(v: Tensor) -> Tensor:
    """Project onto the L1 ball by the simplex of absolute values."""
    inside = v.abs().sum(-1, keepdim=True) <= 1
    return torch.where(inside, v, v.sign() * sort_formula(v.abs()))


def bisect(v: Tensor, normal: Tensor, cap: float) -> Tensor:
    """Project onto ``{0 <= y <= cap, normal @ y == 1}``; the normal is positive."""
    left = ((v - cap) / normal).amin(-1, keepdim=True)
    right = (v / normal).amax(-1, keepdim=True)
    for _ in range(100):
        middle = (left + right) / 2
        above = (normal * (v - middle * normal).clamp(0, cap)).sum(-1, keepdim=True) > 1
        left, right = torch.where(above, middle, left), torch.where(above, right, middle)
    return (v - (left + right) / 2 * normal).clamp(0, cap)


def contestants(n: int, device: str) -> list[Contestant]:
    """Return all that can run on rows of `n` entries."""
    normal = np.random.default_rng(0).uniform(0.5, 1.5, n)
    x, cap = cp.Variable(n), max(0.3, 2.0 / n)
    sets = {
        "simplex": ([x >= 0, cp.sum(x) == 1], sort_formula),
        "box section": (
            [x >= 0, x <= cap, normal @ x == 1],
            lambda v: bisect(v, torch.from_numpy(normal).to(v), cap),
        ),
        "L1 ball": ([cp.norm1(x) <= 1], l1_formula),
    }
    found = [Contestant("torch.softmax", lambda v: v.softmax(-1)), Contestant("torch.clamp", lambda v: v.clamp(0, 1))]
    for name, (constraints, oracle) in sets.items():
        if n > 1_000_000 and name == "L1 ball":  # CVXPY's canonicalisation takes minutes
            continue
        feasible_set = FeasibleSet(constraints, x)
        if feasible_set.method == "closed_form":
            found.append(Contestant(f"optlayers, {name}", feasible_set.project, oracle))
    found += [Contestant("sort formula", sort_formula, sort_formula)]
    return found + _peers(device)


def _peers(device: str) -> list[Contestant]:
    found = []
    if find_spec("entmax"):
        entmax = import_module("entmax")
        found.append(Contestant("entmax.sparsemax", lambda v: entmax.sparsemax(v, dim=-1), sort_formula))
        found.append(Contestant("entmax.sparsemax, k=100", lambda v: entmax.sparsemax(v, dim=-1, k=100), sort_formula))
    if find_spec("jaxopt") and device == "cpu":
        found.append(Contestant("jaxopt, forward only", _jaxopt(), sort_formula))
    if find_spec("adasplash") and device == "cuda":
        triton_entmax = import_module("adasplash").triton_entmax
        found.append(Contestant("adasplash", lambda v: triton_entmax(v, alpha=2.0), sort_formula))
    return found


def _jaxopt() -> Project:
    jax, projection = import_module("jax"), import_module("jaxopt.projection")
    rows = jax.jit(jax.vmap(projection.projection_simplex))
    return lambda v: torch.from_dlpack(rows(jax.dlpack.from_dlpack(v.detach())).block_until_ready())


def psd_formula(v: Tensor) -> Tensor:
    """Clip the eigenvalues of the symmetric part at zero."""
    values, vectors = torch.linalg.eigh((v + v.mT) / 2)
    return (vectors * values.clamp_min(0).unsqueeze(-2)) @ vectors.mT


def isotonic_regression(v: Tensor) -> Tensor:
    """Run SciPy's pool-adjacent-violators algorithm row by row."""
    rows = [optimize.isotonic_regression(row.numpy()).x for row in v.detach().double()]
    return torch.from_numpy(np.stack(rows)).to(v)


def largest_formula(v: Tensor) -> Tensor:
    """Bound the mean of the largest twentieth of all entries by 1: ``v - clamp(v - tau, 0, step)``, by bisection."""
    k, low, high = v.numel() // 20, 0.0, 2 * float(v.abs().max())
    y = v
    for _ in range(45):
        step = (low + high) / 2
        left, right = float(v.min()) - step, float(v.max())
        for _ in range(45):
            tau = (left + right) / 2
            many = float(((v - tau) / step).clamp(0, 1).sum()) > k
            left, right = (tau, right) if many else (left, tau)
        y = v - (v - left).clamp(0, step)
        low, high = (step, high) if float(y.topk(k).values.sum()) > k else (low, step)
    return y


def other_sets(device: str) -> list[tuple[str, list[Contestant], tuple[int, ...]]]:
    """Return the sets whose points are not rows of a softmax, who projects onto them, and the shape of the points."""
    matrix, chain = cp.Variable((32, 32), symmetric=True), cp.Variable(1000)
    psd, isotonic = FeasibleSet([matrix >> 0]).project, FeasibleSet([cp.diff(chain) >= 0]).project
    found: list[tuple[str, list[Contestant], tuple[int, ...]]] = [
        (
            "PSD",
            [Contestant("eigh formula", psd_formula, psd_formula), Contestant("optlayers, PSD cone", psd, psd_formula)],
            (64, 32, 32),
        )
    ]
    n = 1_000_000
    count = torch.tensor(n / 20, device=device)
    largest = Contestant("optlayers, sum of k largest", SumLargest(count, None, None, count).project, largest_formula)
    found.append((f"k = {n // 20}", [Contestant("torch.sort", lambda v: v.sort().values), largest], (n,)))
    scipy = Contestant("SciPy isotonic, forward only", isotonic_regression, isotonic_regression)
    if device == "cpu":
        ours = Contestant("optlayers, isotonic", isotonic, isotonic_regression)
        found.append(("isotonic", [scipy, ours], (1024, 1000)))
    return found


def check(contestant: Contestant, v: Tensor) -> bool:
    """Run a contestant once; its error, or the reason why it fails, is a result."""
    try:
        y = contestant.project(v.detach())
    except Exception as error:
        contestant.note = brief(error)
        return False
    if contestant.oracle is None or v.numel() > _LARGEST_EXACT:
        return True
    exact = contestant.oracle(v.detach().double())
    scale = max(1.0, float(v.detach().abs().max()))
    contestant.error = float((y.double() - exact).abs().max()) / scale
    if contestant.error > _TOLERANCE[v.dtype]:
        contestant.note = "wrong: not timed"
    return not contestant.note


def time_in_turn(runners: list[Contestant], v: Tensor, seconds: float) -> None:
    """Time all contestants again and again, one after the other."""
    weight = torch.randn_like(v)
    for contestant in [c for _ in range(_ROUNDS) for c in runners]:
        scope = {"project": contestant.project, "v": v, "d": v.detach(), "weight": weight, "grad": torch.autograd.grad}
        statements = [("project(d)", contestant.forward)]
        if "forward only" not in contestant.name:
            statements.append(("grad(project(v), v, weight)", contestant.gradient))
        for statement, times in statements:
            timer = Timer(statement, globals=scope, num_threads=torch.get_num_threads())
            times.append(timer.blocked_autorange(min_run_time=seconds / _ROUNDS).median)


def copy_bandwidth(v: Tensor) -> float:
    """Return the bytes a second that `copy_` reads and writes."""
    timer = Timer("w.copy_(v)", globals={"v": v.detach(), "w": torch.empty_like(v)})
    return 2 * v.nbytes / timer.blocked_autorange(min_run_time=0.5).median


def _cells(contestant: Contestant, first: Contestant, v: Tensor, bandwidth: float | None) -> list[str]:
    if not contestant.forward:
        return [contestant.name, _number(contestant.error, ".0e"), contestant.note, "", "", ""]
    forward, gradient = (statistics.median(t or [float("nan")]) for t in (contestant.forward, contestant.gradient))
    ratios = [
        statistics.median(times or [float("nan")]) / statistics.median(reference or [float("nan")])
        for times, reference in ((contestant.forward, first.forward), (contestant.gradient, first.gradient))
    ]
    share = "" if bandwidth is None else f" ({2 * v.nbytes / forward / bandwidth:.0%} of copy)"
    return [
        contestant.name,
        _number(contestant.error, ".0e"),
        f"{1e3 * forward:.3g}{share}",
        _number(ratios[0], ".2f"),
        _number(1e3 * gradient, ".3g"),
        _number(ratios[1], ".2f"),
    ]


def _number(value: float, how: str) -> str:
    return "" if np.isnan(value) else format(value, how)


def run(rows: int, n: int, dtype: torch.dtype, arguments: argparse.Namespace) -> list[list[str]]:
    """Return the table's rows for one size, both scales of the data."""
    result, entrants = [], contestants(n, arguments.device)  # compiling sets of 1e7 entries takes minutes
    for scale in (1.0, 9.0 / n):  # a few entries in the support; a fifth of them
        generator = torch.Generator(arguments.device).manual_seed(0)
        v = scale * torch.randn(rows, n, generator=generator, device=arguments.device)
        v = v.to(dtype).requires_grad_()
        chosen = (c for c in entrants if arguments.contestants in c.name or "softmax" in c.name)
        field = [Contestant(c.name, c.project, c.oracle) for c in chosen]
        support = float((sort_formula(v.detach().float()) > 0).sum(-1).float().mean())
        head = [f"{rows} x {n}", str(dtype).removeprefix("torch."), f"{support:.0f}"]
        result += [[*head, *cells] for cells in compete(field, v, arguments)]
    return result


def compete(field: list[Contestant], v: Tensor, arguments: argparse.Namespace) -> list[list[str]]:
    """Check and time all contestants on the same tensor; return what the table says of each, beside the first one."""
    time_in_turn([contestant for contestant in field if check(contestant, v)], v, arguments.seconds)
    bandwidth = copy_bandwidth(v) if arguments.device == "cuda" else None
    cells = [_cells(contestant, field[0], v, bandwidth) for contestant in field]
    for own in cells:
        print(row(own), flush=True)
    return cells


def main() -> None:
    """Run the chosen sizes and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--dtypes", default="float32", help="names, separated by commas")
    parser.add_argument("--sizes", default="", help="only sizes with this text, such as 1024x1000")
    parser.add_argument("--contestants", default="", help="only those with this text in their name")
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each measurement")
    parser.add_argument("--output", help="write the report to this file in benchmarks/results/")
    arguments = parser.parse_args()
    results = []
    for name in arguments.dtypes.split(","):
        dtype = getattr(torch, name)
        for rows, n in _SIZES[arguments.device]:
            if arguments.sizes in f"{rows}x{n}":
                results += run(rows, n, dtype, arguments)
        for name, entrants, shape in [] if arguments.sizes else other_sets(arguments.device):
            v = torch.randn(shape, generator=torch.Generator(arguments.device).manual_seed(0), device=arguments.device)
            head = ["x".join(map(str, shape)), str(dtype).removeprefix("torch."), name]
            results += [[*head, *cells] for cells in compete(entrants, v.to(dtype).requires_grad_(), arguments)]
    notes = (
        "Ratios are to the first of each group (`torch.softmax`) on the same tensor. Errors are the largest of all, "
        "relative to the data, "
        "against a float64 oracle."
    )
    publish("\n".join([heading("Closed forms"), notes, "", table(_TITLES, results)]), arguments.output)


if __name__ == "__main__":
    main()
