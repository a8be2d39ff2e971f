"""The W&B workspace of a project of runs: `python -m ldsmc_bench dashboard [project=P] [task=T]`.

It needs the package wandb-workspaces, `pip install '.[dashboard]'` in the checkout, and a key for W&B.
"""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from hydra.utils import instantiate
from omegaconf import OmegaConf

from ldsmc_bench.cli import Options, entry
from ldsmc_bench.errors import UserError, one_line
from ldsmc_bench.records.status import FIRST
from ldsmc_bench.scoring.protocols import PROTOCOLS
from ldsmc_bench.tracking.follow import quiet, so_far

if TYPE_CHECKING:
    import wandb_workspaces.workspaces as ws

METRICS = ("psnr", "lpips_vgg", "niqe", "fid_clean", "toyfaces_perceptual", "toyfaces_fid")
BETTER = {"higher": "higher is better", "lower": "lower is better", "one": "1 is right"}


def workspace(entity: str, project: str, metrics: Sequence[str] = METRICS, task: str | None = None) -> "ws.Workspace":
    """dashboard.yaml for a task's runs or all, grouped by task, method, variant and setting: a mean over seeds each."""

    def words(metric: str) -> dict[str, str]:
        one = PROTOCOLS[metric]
        key = f"{'metrics' if one.per == 'image' else 'sets'}/{metric}"
        title = f"{one.label} ({BETTER[one.better]})"
        return {"label": one.label, "title": title, "key": key, "so_far": so_far(metric)}

    each: Mapping[str, list[dict[str, str]]] = {
        "metric": [words(metric) for metric in metrics],
        "metric of an image": [words(metric) for metric in metrics if PROTOCOLS[metric].per == "image"],
        "place": [{"name": f"panel/{place:02d}"} for place in range(FIRST)],
        "": [{}],
    }
    config = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))["workspace"]
    for section in config["sections"]:
        open_panels = [{**one, "panel": p} for p in section["panels"] for one in each[p.pop("each", "")]]
        filled: list[Any] = [OmegaConf.to_container(OmegaConf.create(one), resolve=True) for one in open_panels]
        section["panels"] = [one["panel"] for one in filled]
    own = {"entity": entity, "project": project, "name": "ldsmc_bench", "query": "", "regex": False}
    if task:  # as the runs are named
        own |= {"name": f"ldsmc_bench {task}", "query": f"/{re.escape(task)}/", "regex": True}
    return instantiate(OmegaConf.create({**own, "workspace": config}).workspace, _convert_="all")


@entry
def main(arguments: Sequence[str] | None = None) -> None:
    """Save the workspace and print its address; the exit code is 0, or 2 with one line that gives the reason."""
    parser = Options("dashboard", "Make a W&B workspace for the runs of a project.")
    parser.add_argument("--entity", default=os.environ.get("WANDB_ENTITY"), help="user or team (default: yours)")
    parser.add_argument("--project", default=os.environ.get("WANDB_PROJECT", "ldsmc_bench"))
    parser.add_argument("--metrics", default=",".join(METRICS), help="separated by commas (default: %(default)s)")
    parser.add_argument("--task", help="show the runs on this task only (default: all, grouped by task)")
    options = parser.read(arguments)
    metrics = options.metrics.split(",")
    if unknown := [metric for metric in metrics if metric not in PROTOCOLS]:
        raise UserError(f"--metrics: {unknown[0]}: no such metric; there are: {', '.join(PROTOCOLS)}")
    with quiet():
        try:
            import wandb
            import wandb_workspaces  # noqa: F401 (dashboard.yaml names its classes)

            if not wandb.login(prompt=False, verify=False):
                raise UserError("no W&B key here; `wandb login` gives one, or set WANDB_API_KEY")
            if not (owner := options.entity or wandb.Api().default_entity):
                raise UserError("--entity: this W&B key has no user or team of its own; name one")
            print(workspace(owner, options.project, metrics, options.task).save().url)
        except ImportError as error:
            raise UserError(f"{error.name} is not installed: in the checkout, pip install '.[dashboard]'") from error
        except UserError:
            raise
        except Exception as error:  # W&B's own, of any kind
            raise UserError(f"W&B: {type(error).__name__}: {one_line(error)}") from error


if __name__ == "__main__":
    sys.exit(main())
