"""A benchmark of samplers for inverse problems: `run`, `load_results`, `compare`, and the command `ldsmc-bench`."""

import os
import sys
from importlib import import_module
from types import ModuleType

from ldsmc_bench.running import memory, threads

__version__ = "0.1.0"

memory.set_up()
threads.set_up()  # here, since every command imports the package before PyTorch

# Pictures are written here, never shown: a backend that a notebook left in the environment of its shell, and that may
# not even be installed, is of no use. A notebook itself keeps its own.
if "IPython" not in sys.modules:
    os.environ["MPLBACKEND"] = "agg"

# The commands of the contracts (`python -m ldsmc_bench.status` and the like) are shims in a folder of their own.
_HERE = os.path.dirname(__file__)
__path__.append(os.path.join(_HERE, "shims"))

if os.path.isdir(os.path.join(_HERE, "baselines")):  # in a wheel; in a checkout they are a package of their own
    sys.modules.setdefault("baselines", import_module("ldsmc_bench.baselines"))


def _lazy(name: str) -> property:
    """A part of the Python interface, imported with the first use; the setter ignores a module of the same name."""
    return property(lambda _: getattr(import_module("ldsmc_bench.commands.interface"), name), lambda *_: None)


class _Package(ModuleType):
    run, load_results, compare, Comparison = map(_lazy, ("run", "load_results", "compare", "Comparison"))


sys.modules[__name__].__class__ = _Package
