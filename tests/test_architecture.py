"""The map of the code in CONTRIBUTING.md is true: its folders are all there are, and dependencies point down it."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "optlayers"
SOURCES = sorted(
    path for folder in ("optlayers", "tests", "benchmarks", "examples") for path in ROOT.glob(f"{folder}/**/*.py")
)
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.glob("**/*.py")
}
MOST_LINES, MOST_FILES = 300, 30
MANY_FILES = {PACKAGE / "sets", ROOT / "tests"}  # one file a set, one file a subject


def places() -> list[tuple[str, ...]]:
    """Return the rows of the map, from top to bottom: folders, which end in a slash, and modules of the root."""
    rows = re.findall(r"^\| (`optlayers/.*?) \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    return [tuple(re.findall(r"`(.*?)`", row)) for row in rows]


def place(path: Path) -> str:
    """Return what the map calls the place of a module: its folder, or in the root itself."""
    return str(path.relative_to(ROOT)) if path.parent == PACKAGE else f"{path.parent.relative_to(ROOT)}/"


def imports(path: Path) -> Iterator[str]:
    """Yield the modules of the package that one imports anywhere, under TYPE_CHECKING and in functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            assert not node.level, "imports are absolute"
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in MODULES else node.module for name in names)


DEPENDENCIES = {name: set(imports(path)) for name, path in MODULES.items()}


def test_the_map_lists_every_folder_and_module_of_the_root_once():
    listed = Counter(name for row in places() for name in row)
    assert set(listed) == {
        place(path) for path in MODULES.values() if path.name != "__init__.py" or path.parent != PACKAGE
    }
    assert set(listed.values()) == {1}


def test_dependencies_point_down_the_map():
    rank = {name: number for number, row in enumerate(places()) for name in row}
    rank["optlayers/__init__.py"] = -1
    upwards = {
        (place(MODULES[name]), place(MODULES[other]))
        for name, others in DEPENDENCIES.items()
        for other in others
        if rank[place(MODULES[name])] > rank[place(MODULES[other])]
    }
    assert not upwards


def test_no_module_imports_itself_by_way_of_others():
    try:
        TopologicalSorter(DEPENDENCIES).prepare()
    except CycleError as error:
        pytest.fail(f"import cycle: {' -> '.join(error.args[1])}")


def test_private_parts_of_torch_are_in_one_module():
    pattern = re.compile(r"\b(from|import) torch(\.\w+)*\._|\btorch(\.[a-z]\w*)*\._[a-zA-Z]")
    users = [name for name, path in MODULES.items() if pattern.search(path.read_text())]
    assert users == ["optlayers.autograd.torch_internals"]


def test_no_file_is_long():
    assert {path for path in SOURCES if len(path.read_text().splitlines()) > MOST_LINES} == set()


def test_no_folder_has_many_files():
    files = Counter(path.parent for path in SOURCES)
    assert {folder for folder, count in files.items() if count > MOST_FILES} <= MANY_FILES


def test_names_say_what_they_mean():
    """Words that say nothing of a value are no names: see docs/terms.md."""
    vague = re.compile(r"(^|_)(own|found|held)(_|$)")
    names = {
        (str(path.relative_to(PACKAGE)), name)
        for path in MODULES.values()
        for node in ast.walk(ast.parse(path.read_text()))
        for name in (getattr(node, part, None) for part in ("id", "attr", "arg", "name"))
        if isinstance(name, str) and vague.search(name)
    }
    assert names == set()
