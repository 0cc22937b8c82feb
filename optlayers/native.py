"""The compiled module of this package; None where it was not built, or from sources of another version."""

import warnings
from importlib import import_module
from typing import Any

_INTERFACE = 1  # as in csrc/module.cpp; goes up whenever arguments of its functions change


def _load() -> Any:
    try:
        module = import_module("optlayers._core")
    except ImportError:  # there was no compiler
        return None
    if getattr(module, "INTERFACE", 0) == _INTERFACE:
        return module
    message = "optlayers._core is left out, for it was built from another version's sources: install optlayers again"
    warnings.warn(message, RuntimeWarning, 2)
    return None


compiled = _load()
