"""The compiled core; everything else about the package is in pyproject.toml.

Where there is no compiler, the installation goes on without it: forms in torch then do all of the work.
"""

import sys
from pathlib import Path

from setuptools import Extension, setup

flags = (
    ["/std:c++17", "/O2"]
    if sys.platform == "win32"
    else [
        "-std=c++17",
        "-O3",
        "-fno-math-errno",  # NaN and infinity keep their meaning; sums may be taken in any order, but see in_order.h
        "-fno-trapping-math",
        "-fno-signed-zeros",
        "-fassociative-math",
        "-fvisibility=hidden",
    ]
)
core = Extension(
    "optlayers._core",
    sources=sorted(str(path) for path in Path("csrc").glob("**/*.cpp")),
    depends=sorted(str(path) for path in Path("csrc").glob("**/*.h")),
    include_dirs=["csrc"],
    extra_compile_args=flags,
    extra_link_args=[] if sys.platform == "win32" else ["-pthread"],
    py_limited_api=True,
    optional=True,
)
setup(ext_modules=[core], options={"bdist_wheel": {"py_limited_api": "cp311"}})
