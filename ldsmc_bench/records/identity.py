"""The identity of a run: one name for everything that its results depend on.

The name is a hash of named and versioned values. No Python path or `repr` is part of it: code may be renamed and moved.
"""

import hashlib
import inspect
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ldsmc_bench.files import canonical

if TYPE_CHECKING:
    from ldsmc_bench.prior.interface import Prior
    from ldsmc_bench.problem.datasets import Dataset

# Part of every identity. Raise it when a change of the code changes results under an unchanged configuration,
# so that old rows and new ones never share a run. A method's own `version` does the same for that method alone.
PROTOCOL_VERSION = 2

OURS = ("ldsmc_bench", "baselines")  # functions of these packages are identified by the names of methods and tasks
DIGITS = 12  # of the hash, 48 bits: among 10,000 runs two share a name with a chance of 2 in 10 million


def identify(config: Mapping[str, Any], dataset: "Dataset", prior: "Prior") -> dict[str, Any]:
    """The values of a resolved configuration that a run's results depend on."""
    method, task = config["method"], config["task"]
    unread = "noise_std" if task["noise"] == "poisson" else "poisson_rate"
    return {
        "protocol": PROTOCOL_VERSION,
        "method": {
            "name": method["name"],
            "version": method.get("version", 1),
            **foreign_function(method["sample"]),
            "sample": complete_arguments(method["sample"]),
        },
        "task": {
            **{key: value for key, value in task.items() if key not in ("tuning", unread)},
            **foreign_function(task["operator"]),
            "operator": complete_arguments(task["operator"]),
        },
        "measurement": {key: value for key, value in config["measurement"].items() if key != unread},
        "dataset": {"name": config["dataset"]["name"], "digest": dataset.digest},
        "prior": {"name": config["prior"]["name"], "digest": prior.digest},
        "seed": config["seed"],
        "precision": config["precision"],
    }


def foreign_function(node: Mapping[str, Any]) -> dict[str, str]:
    """The name of a section's function that is the user's: several may go by the name of one method or task."""
    package, _, function = node["_target_"].rpartition(".")
    return {} if package.split(".")[0] in OURS else {"function": function}


def complete_arguments(node: Mapping[str, Any]) -> dict[str, Any]:
    """Every argument of the function that a section names, those left at their default included."""
    from hydra.utils import get_object  # a fifth of a second, which reports and `status` need not wait for

    given = {key: value for key, value in node.items() if not key.startswith("_")}
    taken = sampler_arguments(get_object(node["_target_"])).items()
    return {name: None if one.default is one.empty else one.default for name, one in taken} | given


def sampler_arguments(function: Any) -> dict[str, inspect.Parameter]:
    """The keyword-only arguments of a function: those that a configuration sets."""
    return {name: p for name, p in inspect.signature(function).parameters.items() if p.kind is p.KEYWORD_ONLY}


def run_id(identity: Mapping[str, object]) -> str:
    """`<method>-<task>-<dataset>-<hash>`, for example `ldsmc-freeform-toyfaces-3f9c1a2b4d5e`."""
    return name_with_hash(identity, ("method", "task", "dataset"))


def name_with_hash(identity: Mapping[str, object], keys: Sequence[str]) -> str:
    """The names of these entries, which are text or have a `name`, and the SHA-256 of the canonical text of all."""
    values = [identity[key] for key in keys]
    names = [str(value["name"] if isinstance(value, Mapping) else value) for value in values]
    digest = hashlib.sha256(canonical(identity).encode()).hexdigest()
    return "-".join([*(re.sub(r"[^A-Za-z0-9_.]+", "_", name) for name in names), digest[:DIGITS]])
