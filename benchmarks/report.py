"""What every benchmark prints: the machine, the versions, a markdown table; and limits on time."""

from __future__ import annotations

import multiprocessing
import os
import platform
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import TypeVar

import torch

RESULTS = Path(__file__).parent / "results"
_PACKAGES = (
    "torch",
    "numpy",
    "entmax",
    "cvxpy",
    "clarabel",
    "cvxpylayers",
    "diffcp",
    "moreau",
    "proxsuite",
    "qpth",
    "piqp",
)
T = TypeVar("T")


def heading(title: str) -> str:
    """Return a title with the date, the machine and the versions."""
    threads = torch.get_num_threads()
    machine = f"{_processor()}, {_cores()} of {os.cpu_count()} cores, torch threads: {threads}, {platform.system()}"
    versions = ", ".join(f"{name} {_version(name)}" for name in _PACKAGES)
    return f"# {title}, {date.today().isoformat()}\n\n{machine}, Python {platform.python_version()}.\n{versions}.\n"


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join([row(titles), "|" + "---|" * len(titles), *map(row, rows)])


def publish(text: str, output: str | None) -> None:
    """Print a report, and write it to a file (in `results/`, unless the name says where)."""
    print(f"\n{text}")
    if output is not None:
        (RESULTS / output).write_text(f"{text}\n")


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the block after so many seconds, as soon as Python runs; Unix only, main thread only."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"over {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def in_process(call: Callable[[], T], seconds: float) -> T:
    """Run a call in a forked process, so that it may hang or crash.

    Raises
    ------
    TimeoutError
        If it takes longer.
    RuntimeError
        If it raises or crashes.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, call))
    process.start()
    sender.close()
    try:
        if not receiver.poll(seconds):
            raise TimeoutError(f"over {seconds:g} s")
        result, failure = receiver.recv()
    except EOFError:
        raise RuntimeError("crashed") from None
    finally:
        process.kill()
        process.join()
    if failure is not None:
        raise RuntimeError(failure)
    return result


def _send(sender: Connection, call: Callable[[], object]) -> None:
    try:
        sender.send((call(), None))
    except Exception as error:
        sender.send((None, brief(error)))


def brief(error: BaseException) -> str:
    """Return one short line about an error."""
    text = " ".join(str(error).split()).replace("|", "/")
    return text[:80] if isinstance(error, TimeoutError) else f"{type(error).__name__}: {text}"[:80]
