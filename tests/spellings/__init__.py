"""Ways to write each set in CVXPY, one module for each group of families; every list describes one and the same set."""

import importlib
import pkgutil

from spellings.spelling import Parametric, Spelling

SPELLINGS: dict[str, list[Spelling]] = {}
PARAMETRIC: dict[str, Parametric] = {}

for _found in pkgutil.iter_modules(__path__):
    _module = importlib.import_module(f"{__name__}.{_found.name}")
    SPELLINGS |= getattr(_module, "SPELLINGS", {})
    PARAMETRIC |= getattr(_module, "PARAMETRIC", {})
