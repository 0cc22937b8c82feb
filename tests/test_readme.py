"""Every Python block of the documents runs as printed, top to bottom."""

import re
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

from optlayers.sets import REGISTRY

ROOT = Path(__file__).parents[1]

# A fence may be indented (inside a list) and may say more after the language.
PYTHON_BLOCK = re.compile(r"^(?P<indent> *)``` *(?:python|py)\b[^\n]*\n(?P<code>.*?)^(?P=indent)``` *$", re.M | re.S)


def python_blocks(document: Path) -> list[tuple[int, str]]:
    """Return the code of each Python block, and the number of lines above it."""
    text = document.read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, match.start("code")), textwrap.dedent(match["code"]))
        for match in PYTHON_BLOCK.finditer(text)
    ]


# `plt.show()` is right for a reader, and does nothing here.
@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive:UserWarning")
@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_python_blocks_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = ROOT / name
    monkeypatch.chdir(tmp_path)
    module = ModuleType(f"document_{document.stem.lower()}")  # a module, for pickle and torch.compile
    monkeypatch.setitem(sys.modules, module.__name__, module)
    registered = REGISTRY[:]
    try:
        for lines_above, code in python_blocks(document):
            # Blank lines stand for the prose above, so that a traceback shows the line of the document.
            exec(compile("\n" * lines_above + code, document, "exec"), vars(module))
    finally:
        REGISTRY[:] = registered  # without the sets of a document


def test_readme_has_python_blocks() -> None:
    assert python_blocks(ROOT / "README.md")
