"""Group rates and fair scores, against counts by hand, CVXPY, finite differences and a known trade-off."""

import importlib.util
import sys
from pathlib import Path

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor

from optlayers.training.priced.fair_projection import FairProjection
from optlayers.training.priced.fairness import CONDITIONS, FairnessConstraint

CRITERIA = pytest.mark.parametrize("criterion", list(CONDITIONS))
ROOT = Path(__file__).parents[1]


def sample(n: int = 60, groups: int = 3, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    group = torch.arange(n) % groups
    scores = torch.randn(n, generator=generator, dtype=dtype) + 0.5 * group
    return scores, group, (torch.rand(n, generator=generator) < 0.5).long()


@CRITERIA
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_true_rates_are_counts(criterion: str, dtype: torch.dtype) -> None:
    scores, groups, labels = sample(dtype=dtype)
    constraint = FairnessConstraint(criterion, groups=3, tolerance=0.1, threshold=0.2)
    expected: list[float] = []
    gaps: list[float] = []
    for condition in CONDITIONS[criterion]:
        chosen = [k for k in range(60) if condition is None or int(labels[k]) == condition]
        overall = sum(float(scores[k]) > 0.2 for k in chosen) / len(chosen)
        rates = []
        for g in range(3):
            mine = [k for k in chosen if int(groups[k]) == g]
            rates.append(sum(float(scores[k]) > 0.2 for k in mine) / len(mine))
        expected += [rate - overall - 0.1 for rate in rates] + [overall - rate - 0.1 for rate in rates]
        gaps.append(max(rates) - min(rates))
    value = constraint.value(scores, groups, labels)
    assert value.dtype == dtype
    assert value.shape == (constraint.size,)
    assert value.tolist() == pytest.approx(expected, abs=1e-6)
    assert float(constraint.gap(scores, groups, labels)) == pytest.approx(max(gaps), abs=1e-6)


@CRITERIA
@pytest.mark.parametrize("surrogate", ["sigmoid", "hinge"])
def test_proxies_are_differentiable(criterion: str, surrogate: str) -> None:
    scores, groups, labels = sample()
    constraint = FairnessConstraint(criterion, groups=3, surrogate=surrogate, threshold=0.1, temperature=0.7)
    assert torch.autograd.gradcheck(lambda s: constraint.proxy(s, groups, labels), scores.requires_grad_())


@CRITERIA
def test_sharp_sigmoids_are_the_true_rates_and_hinges_bound_them(criterion: str) -> None:
    scores, groups, labels = sample()
    true = FairnessConstraint(criterion, groups=3).value(scores, groups, labels)
    sharp = FairnessConstraint(criterion, groups=3, temperature=1e-6).proxy(scores, groups, labels)
    torch.testing.assert_close(sharp, true)
    hinge = FairnessConstraint(criterion, groups=3, surrogate="hinge")
    proxy = hinge.proxy(scores, groups, labels)
    assert bool((proxy >= true).all())
    other = torch.randn(60, dtype=torch.float64)
    middle = hinge.proxy((scores + other) / 2, groups, labels)
    assert bool((middle <= (proxy + hinge.proxy(other, groups, labels)) / 2 + 1e-12).all()), "convex"


def test_a_batch_without_a_group() -> None:
    scores, groups, labels = torch.tensor([1.0, -1.0, 2.0], requires_grad=True), torch.tensor([0, 0, 2]), torch.ones(3)
    with pytest.raises(ValueError, match=r"no samples in group 1.*skip"):
        FairnessConstraint("demographic_parity", groups=3).value(scores, groups)
    with pytest.raises(ValueError, match=r"no samples with label 0 in group 0, 1"):
        FairnessConstraint("equalised_odds").value(scores, torch.tensor([0, 1, 1]), labels)
    skipping = FairnessConstraint("demographic_parity", groups=3, tolerance=0.1, empty="skip")
    value = skipping.value(scores, groups)
    assert value.reshape(2, 3)[:, 1].tolist() == [0.0, 0.0]
    assert value[2] == pytest.approx(1 - 2 / 3 - 0.1)
    skipping.proxy(scores, groups).sum().backward()
    assert scores.grad is not None
    assert bool(scores.grad.isfinite().all())


def test_errors() -> None:
    scores, groups, labels = sample()
    parity, odds = FairnessConstraint("demographic_parity", groups=3), FairnessConstraint("equalised_odds", groups=3)
    with pytest.raises(ValueError, match=r"criterion: expected one of 'demographic_parity'.*got 'parity'"):
        FairnessConstraint("parity")
    with pytest.raises(ValueError, match="tolerance >= 0"):
        FairnessConstraint("demographic_parity", tolerance=-0.1)
    with pytest.raises(ValueError, match=r"scores \(n,\).*squeeze"):
        parity.value(scores.unsqueeze(1), groups)
    with pytest.raises(ValueError, match="integer groups"):
        parity.value(scores, groups.double())
    with pytest.raises(ValueError, match="groups from 0 to 1, got 0 to 2"):
        FairnessConstraint("demographic_parity").value(scores, groups)
    with pytest.raises(ValueError, match="needs labels"):
        odds.value(scores, groups)
    with pytest.raises(ValueError, match="labels 0 and 1"):
        odds.value(scores, groups, 2 * labels)
    with pytest.raises(ValueError, match="two groups or more"):
        FairProjection(torch.zeros(4, dtype=torch.long))
    with pytest.raises(ValueError, match=r"no samples with label 1 in group 1"):
        FairProjection(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 0]), criterion="equal_opportunity")
    with pytest.raises(ValueError, match="increasing bounds"):
        FairProjection(groups, bounds=(1.0, 0.0))


@CRITERIA
@pytest.mark.parametrize("groups", [2, 3])
@pytest.mark.parametrize("tolerance", [0.0, 0.05])
def test_fair_scores_are_the_nearest(criterion: str, groups: int, tolerance: float) -> None:
    scores, group, labels = sample(groups=groups)
    scores = scores.sigmoid()
    fair = FairProjection(group, labels, tolerance=tolerance, criterion=criterion)
    found = fair(scores)
    y, rows = cp.Variable(60), []
    for condition in CONDITIONS[criterion]:
        masks = [(group == g) & ((labels == condition) | (condition is None)) for g in range(groups)]
        means = [mask.double().numpy() @ y / int(mask.sum()) for mask in masks]
        rows += [cp.abs(means[a] - means[b]) <= tolerance for a in range(groups) for b in range(a)]
        held = [float(found[mask].mean()) for mask in masks]
        assert max(held) - min(held) <= tolerance + 1e-9
    assert -1e-12 <= float(found.min()) <= float(found.max()) <= 1 + 1e-12
    problem = cp.Problem(cp.Minimize(cp.sum_squares(y - scores.numpy())), [*rows, y >= 0, y <= 1])
    problem.solve(solver="CLARABEL", tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12)
    assert found.numpy() == pytest.approx(np.asarray(y.value), abs=1e-6)
    single = fair(torch.stack([scores, 1 - scores]).float())
    torch.testing.assert_close(single[0].double(), found, atol=1e-5, rtol=0)


def test_fair_scores_are_differentiable() -> None:
    scores, group, _ = sample(n=8, groups=2)
    fair = FairProjection(group, tolerance=0.02)
    assert torch.autograd.gradcheck(fair, scores.sigmoid().requires_grad_())


def example():
    spec = importlib.util.spec_from_file_location("fair_classification", ROOT / "examples" / "fair_classification.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_known_optimum_is_that_of_the_thresholds() -> None:
    module = example()
    s = (np.arange(20000) + 0.5) / 20000
    a, b = 0.4 + 0.6 * s, 0.6 * s
    for gap in (0.0, 0.2, 0.5):
        shifts = np.linspace(0, 0.3, 301)
        yes = [(a > 0.5 + t, b > 0.5 - t) for t in shifts]
        right = [(np.where(u, a, 1 - a).mean() + np.where(v, b, 1 - b).mean()) / 2 for u, v in yes]
        fits = [abs(u.mean() - v.mean()) <= gap + 1e-9 for u, v in yes]
        best = max(r for r, fit in zip(right, fits, strict=True) if fit)
        assert module.best_accuracy(gap) == pytest.approx(best, abs=1.5e-3)


def test_the_trade_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    module = example()
    found = module.trace(size=4000, steps=1000, seed=0)
    for rows in found.values():
        accuracies = [right for _, _, right in rows]
        gaps = [gap for _, gap, _ in rows]
        assert accuracies == sorted(accuracies)
        assert gaps == sorted(gaps)
        assert gaps[-1] - gaps[0] > 0.5
        for _, gap, right in rows:
            best = module.best_accuracy(gap)
            assert best - 5e-3 <= right <= best + 1e-3
    for tolerance, gap, _ in found["multipliers"]:
        assert gap <= tolerance + 1e-2, "the true rates, within the tolerance and the slack of a step"
    module.print_table(found)
    assert "best at that gap" in capsys.readouterr().out
    module.draw(found).savefig(tmp_path / "fair.png")
    assert (tmp_path / "fair.png").stat().st_size > 10_000
