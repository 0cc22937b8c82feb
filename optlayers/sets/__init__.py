"""The closed-form sets, one family a file; importing the package registers every module in it."""

import importlib
import pkgutil

from optlayers.sets.base import REGISTRY, Check, ClosedFormSet, register

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["REGISTRY", "Check", "ClosedFormSet", "register"]
