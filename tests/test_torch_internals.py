"""Without the private parts of torch, what serves instead says the same, or what is safe."""

import cvxpy as cp
import pytest
import torch
from torch.func import grad, jvp, vmap

from optlayers import FeasibleSet
from optlayers.autograd import torch_internals
from optlayers.autograd.torch_internals import is_transformed, may_be_batched, nesting


def seen(transform, ask):
    """Return what a question says inside a transform."""
    answers = []
    transform(lambda x: (answers.append(ask(x)), x.sum())[1])
    return answers


TRANSFORMS = {
    "vmap": (1, 0, lambda f: vmap(f)(torch.ones(2))),
    "grad": (1, 1, lambda f: grad(f)(torch.ones(()))),
    "jvp": (1, 1, lambda f: jvp(f, (torch.ones(()),), (torch.ones(()),))),
    "grad of vmap of grad": (1, 2, lambda f: grad(lambda x: vmap(grad(f))(x).sum())(torch.ones(2))),
    "none": (0, 0, lambda f: f(torch.ones(()))),
}


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_are_seen(name, missing, monkeypatch):
    if missing:
        monkeypatch.setattr(torch_internals, "get_interpreter_stack", None)
    transformed, _, transform = TRANSFORMS[name]
    assert seen(transform, lambda x: is_transformed()) == [bool(transformed)]
    assert not is_transformed()


@pytest.mark.parametrize("name", TRANSFORMS)
def test_derivatives_are_counted(name):
    _, count, transform = TRANSFORMS[name]
    assert seen(transform, nesting) == [count]


def test_batches_of_gradients_are_seen(monkeypatch):
    answers = []
    x = torch.ones(3, requires_grad=True)
    y = 1 * x
    y.register_hook(lambda gradient: answers.append(may_be_batched(gradient)))
    torch.autograd.grad(y, x, torch.eye(3), is_grads_batched=True, retain_graph=True)
    torch.autograd.grad(y, x, torch.ones(3), retain_graph=True)
    monkeypatch.setattr(torch_internals, "is_legacy_batchedtensor", None)
    torch.autograd.grad(y, x, torch.ones(3))
    assert answers == [True, False, True]


def test_counting_is_given_up(monkeypatch):
    monkeypatch.setattr(torch_internals, "get_unwrapped", None)
    assert seen(TRANSFORMS["grad"][2], nesting) == [0]


@pytest.mark.parametrize("limits", [lambda x: [cp.sum_squares(x[:2]) <= x[2]], lambda x: [cp.norm1(x) <= 1, x[0] <= 0]])
def test_sets_are_made_within_transforms(limits):
    def project(v):
        x = cp.Variable(3)
        return FeasibleSet(limits(x), x).project(v).square().sum()

    v = torch.randn(3, dtype=torch.float64).requires_grad_()
    (expected,) = torch.autograd.grad(project(v), v)
    torch.testing.assert_close(torch.func.grad(project)(v.detach()), expected)
