"""The topics of a document by variational inference on the simplex: `python examples/dirichlet_topics.py`.

A document has words of known topics; the topics' shares have a Dirichlet prior, so that the exact posterior is known:
a Dirichlet distribution with the counts added. Two families are fitted to it by stochastic gradients of the evidence
lower bound, with nothing used of conjugacy:

- a Dirichlet, whose concentrations are held to a set by `transform_to`: it holds the answer, and must find it;
- a logistic-normal: a Gaussian pushed by `biject_to` onto the shares of all topics but the last, a knapsack
  ``y >= 0, sum(y) <= 1``; its density is that of the smooth map. It comes close.

Printed: the means and standard deviations of each share, and the Kullback-Leibler divergence from the exact posterior.
"""

from __future__ import annotations

import argparse

import cvxpy as cp
import torch
from torch import Tensor
from torch.distributions import (
    Dirichlet,
    Distribution,
    Gamma,
    MultivariateNormal,
    TransformedDistribution,
    biject_to,
    kl_divergence,
    transform_to,
)

from optlayers.training.integrations.distributions import in_set

COUNTS = torch.tensor([12.0, 5.0, 2.0, 1.0], dtype=torch.float64)
PRIOR = torch.full((4,), 0.8, dtype=torch.float64)
SAMPLES = 128


def log_joint(shares: Tensor) -> Tensor:
    """Return the logarithm of prior times likelihood, but for a constant."""
    return ((COUNTS + PRIOR - 1) * shares.log()).sum(-1)


def whole(shares: Tensor) -> Tensor:
    """Return all shares from all but the last."""
    return torch.cat([shares, 1 - shares.sum(-1, keepdim=True)], -1)


def fit_dirichlet(steps: int) -> Dirichlet:
    """Maximise the evidence lower bound over Dirichlet distributions."""
    concentration = cp.Variable(4)
    to_concentration = transform_to(in_set([concentration >= 1e-2]))
    free = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([free], lr=0.5)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 1e-2, steps)
    for _ in range(steps):
        family = Dirichlet(to_concentration(free))
        gammas = Gamma(family.concentration, torch.ones_like(PRIOR)).rsample((SAMPLES,))
        shares = (gammas / gammas.sum(-1, keepdim=True)).clamp_min(1e-12)
        likelihood = (COUNTS * shares.log()).sum(-1)
        optimizer.zero_grad()
        (kl_divergence(family, Dirichlet(PRIOR)) - likelihood.mean()).backward()
        optimizer.step()
        scheduler.step()
    return Dirichlet(to_concentration(free).detach())


def fit_logistic_normal(steps: int) -> Distribution:
    """Maximise the evidence lower bound over Gaussians that are mapped onto the simplex."""
    shares, factor = cp.Variable(3), cp.Variable((3, 3), symmetric=True)
    to_shares = biject_to(in_set([shares >= 0, cp.sum(shares) <= 1]))
    to_covariance = transform_to(in_set([factor >> 1e-6 * torch.eye(3).numpy()]))
    mean = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    free = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([mean, free], lr=0.05)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 1e-2, steps)
    for _ in range(steps):
        base = MultivariateNormal(mean, to_covariance(free))
        raw = base.rsample((SAMPLES,))
        y = to_shares(raw)
        density = base.log_prob(raw) - to_shares.log_abs_det_jacobian(raw, y)
        optimizer.zero_grad()
        (density - log_joint(whole(y).clamp_min(1e-12))).mean().backward()
        optimizer.step()
        scheduler.step()
    return TransformedDistribution(MultivariateNormal(mean.detach(), to_covariance(free).detach()), to_shares)


def main() -> None:
    """Fit both families and print them beside the exact posterior."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--steps", type=int, default=1500)
    steps = parser.parse_args().steps
    torch.manual_seed(0)
    exact = Dirichlet(COUNTS + PRIOR)
    dirichlet, normal = fit_dirichlet(steps), fit_logistic_normal(steps)
    samples = whole(normal.sample((200_000,)))
    density = normal.log_prob(samples[:, :-1])
    divergence = (density - exact.log_prob(samples / samples.sum(-1, keepdim=True))).mean()
    rows = {
        "exact posterior": (exact.mean, exact.stddev, 0.0),
        "Dirichlet": (dirichlet.mean, dirichlet.stddev, kl_divergence(dirichlet, exact).item()),
        "logistic-normal": (samples.mean(0), samples.std(0), divergence.item()),
    }
    print(f"{'':18}{'means':32}{'standard deviations':32}{'divergence':>12}")
    for name, (mean, deviation, distance) in rows.items():
        numbers = ("".join(f"{value:8.4f}" for value in part.tolist()) for part in (mean, deviation))
        print(f"{name:18}{''.join(numbers)}{distance:12.1e}")
    print("concentrations:", [round(value, 3) for value in dirichlet.concentration.tolist()], "exact:", end=" ")
    print([round(value, 3) for value in exact.concentration.tolist()])


if __name__ == "__main__":
    main()
