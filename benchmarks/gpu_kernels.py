"""GPU kernels alone beside `torch.softmax`, copying, entmax and adasplash: what the gates of the kernels say.

Gates: the simplex at 65536 x 1000, in float32 and bfloat16, takes at most 1.3 times as long as `torch.softmax`, forward
and backward, at no less than 75 % of the measured copy bandwidth forward; at 1 x 10^8, at no less than 50 % of it; and
never longer than a peer. Values are compared with the plain form in float64 first. Run with
`python benchmarks/gpu_kernels.py` on a machine with a GPU; `--dry` runs tiny sizes, interpreted where there is none.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec

import torch
from report import heading, publish, row, table
from torch import Tensor

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when Triton is imported

from optlayers.kernels.gpu import box, box_section, isotonic, l1_ball, l2_ball, second_order_cone
from optlayers.parametric.range import Range

_TITLES = ("rows x n", "dtype", "support", "what", "error", "ms", "/ softmax", "of copy bandwidth", "gate")
_TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 8e-3}
_LARGEST_EXACT = 1 << 27
_MOST_OF_SOFTMAX = 1.3
Run = Callable[[], Tensor]


@dataclass
class Timing:
    """A function, the tensors it must read and write as multiples of the points, and what it has to reach."""

    name: str
    run: Run
    passes: int
    reference: str = ""
    share: float = 0.0


def seconds(run: Run, repeats: int) -> float:
    """Return the median time of a call, by the device's own clock where it has one."""
    if not torch.cuda.is_available():
        return float("nan")
    for _ in range(3):
        run()
    times = []
    flush = torch.empty(1 << 28, dtype=torch.uint8, device="cuda")  # so that no call finds its input in the cache
    for _ in range(repeats):
        flush.zero_()
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return statistics.median(times)


def simplex(v: Tensor) -> Tensor:
    """Project onto the simplex by sorting, in float64."""
    descending = v.double().sort(-1, descending=True).values
    excess = descending.cumsum(-1) - 1
    count = torch.arange(1, v.shape[-1] + 1, device=v.device, dtype=torch.float64)
    support = (descending * count > excess).sum(-1, keepdim=True)
    return (v.double() - excess.gather(-1, support - 1) / support).clamp_min(0)


def timings(v: Tensor) -> list[Timing]:
    """Return everything to be timed on these points; what others are compared with comes first."""
    n, g, out = v.shape[1], torch.randn_like(v), torch.empty_like(v)
    zero, one = v.new_zeros(1, 1).expand(1, n), v.new_ones(1)
    cap, normal = v.new_full((1, n), max(0.3, 2.0 / n)), torch.linspace(0.5, 1.5, n, device=v.device).to(v)[None]
    soft, share = v.softmax(-1), 0.75 if len(v) > 1 else 0.5
    sections: dict[str, tuple[Tensor | None, Tensor | None, Tensor | None]] = {
        "simplex": (None, zero, None),
        "box section": (normal, zero, cap),
    }
    found = [
        Timing("copy", partial(out.copy_, v), 2),
        Timing("softmax, forward", partial(torch.softmax, v, -1), 2),
        Timing("softmax, backward", partial(torch.ops.aten._softmax_backward_data, g, soft, -1, v.dtype), 3),  # noqa: SLF001
    ]
    for name, data in sections.items():
        y, tight = box_section.project(v, *data, Range.fixed(one))
        gate = name == "simplex"
        forward, backward = (
            partial(box_section.project, v, *data, Range.fixed(one)),
            partial(box_section.pull, g, y, tight, *data),
        )
        reference = ("softmax, forward", "softmax, backward") if gate and len(v) > 1 else ("", "")
        found.append(Timing(f"{name}, forward", lambda f=forward: f()[0], 2, reference[0], share if gate else 0.0))
        found.append(Timing(f"{name}, backward", backward, 3, reference[1]))
    y, tight = l1_ball.project(v, None, one)
    found.append(Timing("L1 ball, forward", lambda: l1_ball.project(v, None, one)[0], 2))
    found.append(Timing("L1 ball, backward", lambda: l1_ball.pull(g, y, tight, None), 3))
    norm = l2_ball.project(v, one)[1]
    found.append(Timing("L2 ball, forward", lambda: l2_ball.project(v, one)[0], 2))
    found.append(Timing("L2 ball, backward", lambda: l2_ball.pull(g, v, norm, one), 3))
    found.append(Timing("second-order cone, forward", lambda: second_order_cone.project(v), 2))
    found.append(Timing("second-order cone, backward", lambda: second_order_cone.pull(g, v), 3))
    found.append(Timing("box, forward", lambda: box.project(v, zero, cap), 2))
    if n < 1_000_000:
        starts = isotonic.project(v)[1]
        found.append(Timing("isotonic, forward", lambda: isotonic.project(v)[0], 2))
        found.append(Timing("isotonic, backward", lambda: isotonic.pull(g, starts), 3))
    return found + peers(v)


def peers(v: Tensor) -> list[Timing]:
    """Return the peers' simplex, where they are installed."""
    found = []
    if find_spec("entmax"):
        sparsemax = import_module("entmax").sparsemax
        found.append(Timing("entmax.sparsemax", lambda: sparsemax(v, dim=-1), 2))
        found.append(Timing("entmax.sparsemax, k=100", lambda: sparsemax(v, dim=-1, k=min(100, v.shape[1])), 2))
    if find_spec("adasplash") and v.is_cuda:
        found.append(Timing("adasplash", lambda: import_module("adasplash").triton_entmax(v, alpha=2.0), 2))
    return found


def measure(v: Tensor, repeats: int) -> list[list[str]]:
    """Return the table's rows for some points."""
    exact = simplex(v) if v.numel() <= _LARGEST_EXACT else None
    support = "" if exact is None else f"{float((exact > 0).sum(-1).double().mean()):.0f}"
    times: dict[str, float] = {}
    found = timings(v)
    for timing in found:
        times[timing.name] = seconds(timing.run, repeats)
    others = [times[t.name] for t in found if t.name.startswith(("entmax", "adasplash"))]
    bandwidth, result = 2 * v.nbytes / times["copy"], []
    for timing in found:
        spent, gates = times[timing.name], []
        error = "" if exact is None or timing.name != "simplex, forward" else f"{_error(timing.run(), exact, v):.0e}"
        share = timing.passes * v.nbytes / spent / bandwidth
        softmax = times["softmax, backward" if "backward" in timing.name else "softmax, forward"]
        if timing.reference:
            gates.append(spent <= _MOST_OF_SOFTMAX * softmax)
        if timing.share:
            gates += [share >= timing.share, spent <= min(others, default=torch.inf)]
        verdict = "" if not gates or math.isnan(spent) else "passed" if all(gates) else "MISSED"
        cells = [timing.name, error, f"{1e3 * spent:.3f}", f"{spent / softmax:.2f}", f"{share:.0%}", verdict]
        result.append([f"{v.shape[0]} x {v.shape[1]}", str(v.dtype).removeprefix("torch."), support, *cells])
        print(row(result[-1]), flush=True)
    return result


def _error(y: Tensor, exact: Tensor, v: Tensor) -> float:
    error = float((y.double() - exact).abs().max()) / max(1.0, float(v.abs().max()))
    if not error <= _TOLERANCE[v.dtype]:
        raise AssertionError(f"the simplex errs by {error:.1e}: no time of it means anything")
    return error


def main() -> None:
    """Measure all sizes, both dtypes and both scales of the data, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry", action="store_true", help="tiny sizes, to see that the script runs")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--output", help="write the report to this file in benchmarks/results/")
    arguments = parser.parse_args()
    if not (arguments.dry or torch.cuda.is_available()):
        parser.error("needs a CUDA device; --dry runs without one")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    card = torch.cuda.get_device_name() if device == "cuda" else "no GPU, interpreted: no times"
    print(card, flush=True)
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        for rows, n in ((4, 100), (1, 40_000)) if arguments.dry else ((65_536, 1000), (64, 100_000), (1, 100_000_000)):
            for scale in (1.0, 9.0 / n):  # a few entries in the support; a fifth of them
                generator = torch.Generator(device).manual_seed(0)
                v = (scale * torch.randn(rows, n, device=device, generator=generator)).to(dtype)
                results += measure(v, arguments.repeats)
    notes = f"{card}. Each kernel alone, the caches flushed before each call; the median of {arguments.repeats}."
    publish("\n".join([heading("GPU kernels"), notes, "", table(_TITLES, results)]), arguments.output)


if __name__ == "__main__":
    main()
