"""Build the extension and map hw_profiles/ into the package; metadata is in pyproject.toml."""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup

HERE = Path(__file__).parent
DEBUG = os.environ.get("BNNSIM_DEBUG") == "1"
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]

# No -march and no -ffast-math: kernels of a newer instruction set carry their own target pragma.
compile_args = ["-std=c11", "-ffp-contract=off", "-pthread", "-Wall", "-Wextra"]
compile_args += [*SANITIZE, "-g", "-O1"] if DEBUG else ["-O3"]

sources = sorted(p.relative_to(HERE).as_posix() for p in (HERE / "csrc").glob("*.c"))
for folder in ("ref", "x86", "arm"):
    found = (HERE / "csrc" / folder).glob("*.c")
    sources += sorted(p.relative_to(HERE).as_posix() for p in found)
headers = [*HERE.glob("csrc/**/*.h"), *HERE.glob("csrc/**/*.inc"), *HERE.glob("csrc/*.def")]

extension = Extension(
    "bnnsim.engine._kernels",
    sources=["bnnsim/engine/_kernels.pyx", *sources],
    include_dirs=["csrc/include"],
    depends=sorted(p.relative_to(HERE).as_posix() for p in headers),
    extra_compile_args=compile_args,
    extra_link_args=["-pthread", *(SANITIZE if DEBUG else [])],
)

setup(
    ext_modules=cythonize([extension]),
    packages=[*find_packages(include=["bnnsim", "bnnsim.*"]), "bnnsim.hw_profiles"],
    package_dir={"bnnsim.hw_profiles": "hw_profiles"},
    package_data={
        "bnnsim": ["schemas/*.json", "data/*.bnn", "data/*.json", "py.typed"],
        "bnnsim.engine": ["*.pyi"],
        "bnnsim.hw_profiles": ["**/*.yaml", "**/*.json"],
        "bnnsim.report": ["templates/**/*.html", "templates/*.css"],
    },
    include_package_data=False,
)
