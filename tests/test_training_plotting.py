"""What is drawn lies in the set, and is as large as the set; checked on the shapes drawn, not on pixels."""

import cvxpy as cp
import numpy as np
import pytest
import torch
from scipy.spatial import ConvexHull

from optlayers import FeasibleSet
from optlayers.training.monitoring.outline import outline
from optlayers.training.monitoring.plotting import plot_set
from optlayers.training.schedules.scheduled_set import ScheduledSet

plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def area(vertices: np.ndarray) -> float:
    x, y = vertices.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


FLAT = {
    "box": (lambda x: [x >= -1, x <= np.array([1.0, 3.0])], 8.0),
    "disc": (lambda x: [cp.norm(x - 3) <= 2], 4 * np.pi),
    "thin ellipse": (lambda x: [cp.norm(np.diag([1.0, 200.0]) @ x) <= 1], np.pi / 200),
    "diamond": (lambda x: [cp.norm1(x) <= 1e-4], 2e-8),
    "far triangle": (lambda x: [x >= 1000, cp.sum(x) <= 2001], 0.5),
    "lens": (lambda x: [cp.norm(x) <= 1, cp.norm(x - np.array([1.0, 0.0])) <= 1], 2 * np.pi / 3 - 3**0.5 / 2),
    "needle": (lambda x: [x >= 0, x[1] <= 1e-3, x[0] + x[1] <= 10], 1e-2),
}


@pytest.mark.parametrize("name", FLAT)
def test_the_filled_polygon_is_the_set(name: str) -> None:
    make, true = FLAT[name]
    bound = FeasibleSet(make(cp.Variable(2)))
    (polygon,) = plot_set(bound).patches
    vertices = polygon.get_xy()[:-1]
    assert len(vertices) >= 3
    assert float(bound.violation(torch.tensor(vertices)).max()) <= 1e-6 * max(1.0, np.abs(vertices).max())
    assert 0.98 * true <= area(vertices) <= (1 + 1e-5) * true


SOLID = {
    "cube": (lambda x: [x >= 0, x <= 1], 1.0),
    "ball": (lambda x: [cp.norm(x) <= 2], 32 / 3 * np.pi),
    "octahedron": (lambda x: [cp.norm1(x) <= 1], 4 / 3),
    "ellipsoid": (lambda x: [cp.norm(np.diag([1.0, 5.0, 10.0]) @ x) <= 1], 4 / 3 * np.pi / 50),
    "ice cream": (lambda x: [cp.norm(x[:2]) <= x[2], x[2] <= 1], np.pi / 3),
}


@pytest.mark.parametrize("name", SOLID)
def test_the_surface_encloses_the_set(name: str) -> None:
    make, true = SOLID[name]
    bound = FeasibleSet(make(cp.Variable(3)))
    found = outline(bound)
    assert found is not None
    assert found.dimension == 3
    assert found.faces is not None
    assert float(bound.violation(torch.tensor(found.vertices)).max()) <= 1e-6
    assert 0.98 * true <= ConvexHull(found.vertices).volume <= (1 + 1e-5) * true
    edges = np.sort(np.concatenate([found.faces[:, [0, 1]], found.faces[:, [1, 2]], found.faces[:, [2, 0]]]), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all(), "the surface is closed"
    (surface,) = plot_set(bound).collections
    assert surface.get_facecolor().size


def test_flat_sets_in_space() -> None:
    x = cp.Variable(3)
    found = outline(FeasibleSet([x >= 0, cp.sum(x) == 1]))
    assert found is not None
    assert found.dimension == 2
    assert sorted(map(tuple, found.vertices.round(6) + 0.0)) == [(0, 0, 1), (0, 1, 0), (1, 0, 0)]
    assert plot_set([x >= 0, cp.sum(x) == 1]).collections
    disc = outline(FeasibleSet([cp.norm(x) <= 1, np.array([1.0, 2.0, 3.0]) @ x == 1.0]))
    assert disc is not None
    assert disc.dimension == 2
    assert np.linalg.norm(disc.vertices, axis=1) == pytest.approx(1.0, abs=1e-5)
    length = np.linalg.norm(disc.vertices - np.roll(disc.vertices, 1, 0), axis=1).sum()
    assert length == pytest.approx(2 * np.pi * (1 - 1 / 14) ** 0.5, rel=0.01)


def test_segments_and_points() -> None:
    x = cp.Variable(2)
    (segment,) = plot_set([x >= 0, cp.sum(x) == 1]).lines
    assert sorted(map(tuple, segment.get_xydata().round(6) + 0.0)) == [(0, 1), (1, 0)]
    (point,) = plot_set([x == np.array([2.0, 3.0])]).lines
    assert point.get_xydata() == pytest.approx(np.array([[2.0, 3.0]]))


def test_unbounded_sets_are_cut_off() -> None:
    x = cp.Variable(2)
    bound = FeasibleSet([x >= 0])
    (polygon,) = plot_set(bound, window=([-1, -1], [2, 3])).patches
    assert area(polygon.get_xy()[:-1]) == pytest.approx(6.0, rel=1e-4)
    (polygon,) = plot_set(bound, points=[[4.0, 5.0]]).patches
    vertices = polygon.get_xy()
    assert vertices.max() >= 5
    assert vertices.min() == pytest.approx(0, abs=1e-6)
    (everything,) = plot_set(FeasibleSet([], x)).patches
    assert area(everything.get_xy()[:-1]) == pytest.approx(4.0)


def test_points_and_path() -> None:
    x = cp.Variable(2)
    bound = FeasibleSet([cp.norm(x) <= 1])
    points, path = torch.tensor([[3.0, 4.0], [0.0, 0.5]]), [torch.tensor([float(k), 1.0]) for k in range(5)]
    ax = plot_set(bound, points=points, path=path)
    drawn = {line.get_label(): line.get_xydata() for line in ax.lines}
    assert drawn["points"] == pytest.approx(points.numpy())
    assert drawn["projected"] == pytest.approx(np.array([[0.6, 0.8], [0.0, 0.5]]))
    assert drawn["path"] == pytest.approx(np.array([[k, 1.0] for k in range(5)]))
    assert any(np.allclose(line.get_xydata(), [[3, 4], [0.6, 0.8]]) for line in ax.lines)
    assert plot_set(bound, ax=ax) is ax
    ax.figure.canvas.draw()


def test_the_set_of_a_step() -> None:
    x, radius = cp.Variable((2, 1)), cp.Parameter(name="radius", nonneg=True)
    moving = ScheduledSet([cp.norm(x) <= radius], radius=lambda step: 1.0 + step)
    for step in (0, 2):
        (polygon,) = plot_set(moving, step=step).patches
        assert area(polygon.get_xy()[:-1]) == pytest.approx(np.pi * (1 + step) ** 2, rel=0.02)
    (polygon,) = plot_set(moving, step=1, window=(0.0, 5.0)).patches
    assert area(polygon.get_xy()[:-1]) == pytest.approx(np.pi, rel=0.02)


def test_three_dimensions_with_path() -> None:
    x = cp.Variable(3)
    ax = plot_set([cp.norm(x) <= 1], points=torch.randn(4, 3), path=torch.randn(9, 3))
    assert ax.name == "3d"
    ax.figure.canvas.draw()


def test_errors() -> None:
    x, y = cp.Variable(2), cp.Variable(4)
    with pytest.raises(ValueError, match="2 or 3 entries"):
        plot_set([y >= 0])
    with pytest.raises(ValueError, match=r"points: expected the shape \(k, 2\), got \(3, 4\)"):
        plot_set([x >= 0], points=torch.zeros(3, 4))
    with pytest.raises(ValueError, match="finite"):
        plot_set([x >= 0], path=[[0.0, float("nan")]])
    with pytest.raises(ValueError, match="lower < upper"):
        plot_set([x >= 0], window=([0, 0], [0, 1]))
    z = cp.Variable(3)
    with pytest.raises(ValueError, match="projection"):
        plot_set([z >= 0, z <= 1], ax=plt.figure().add_subplot())
    top = cp.Parameter(name="top")
    with pytest.raises(ValueError, match="one sample"):
        plot_set(ScheduledSet([x <= top, x >= 0], top=torch.ones(3)))
