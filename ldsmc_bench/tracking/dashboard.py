"""The W&B workspace of a project of runs: `python -m ldsmc_bench.tracking.dashboard [--project P] [--task T]`.

It needs the package wandb-workspaces, `pip install 'ldsmc_bench[dashboard]'`, and a key for W&B.
"""

import os
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ldsmc_bench.cli import Options, entry
from ldsmc_bench.errors import UserError, one_line
from ldsmc_bench.records.status import FIRST
from ldsmc_bench.scoring.protocols import PROTOCOLS
from ldsmc_bench.tracking.follow import quiet

if TYPE_CHECKING:
    import wandb_workspaces.workspaces as ws

METRICS = ("psnr", "lpips_vgg", "niqe", "fid_clean", "toyfaces_perceptual", "toyfaces_fid")
AXES = {"particles": "particles", "steps": "steps", "s": "method.sample.s"}  # what is swept, and its key
COSTS = {"seconds": "seconds an image", "denoiser_forward": "denoiser calls an image"}
CURVES = {"ess": "effective sample size", "resampled": "share of images resampled", "entropy": "weight entropy"}
BETTER = {"higher": "higher is better", "lower": "lower is better", "one": "1 is right"}


def workspace(entity: str, project: str, metrics: Sequence[str] = METRICS, task: str | None = None) -> "ws.Workspace":
    """The panels for a task's runs or all, grouped by task, method and setting: a mean over seeds each.

    Shards are left out, since the whole run shows their images too.
    """
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces import expr

    shown = [PROTOCOLS[metric] for metric in metrics]
    keys = {one.name: f"{'metrics' if one.per == 'image' else 'sets'}/{one.name}" for one in shown}  # in the summary
    titles = {one.name: f"{one.label} ({BETTER[one.better]})" for one in shown}

    def scatter(x: Any, axis: str, log_x: bool = True) -> list[Any]:
        ys = {metric: wr.SummaryMetric(key) for metric, key in keys.items()}
        return [wr.ScatterPlot(title=f"{titles[m]} by {axis}", x=x, y=y, log_x=log_x) for m, y in ys.items()]

    by_axis = {f"Metrics by {axis}": scatter(wr.Config(key), axis, axis != "s") for axis, key in AXES.items()}
    running = {one.name: one.label for one in shown if one.per == "image"}
    running |= {"seconds": "seconds an image", "log_evidence": "log-evidence"}
    places = [f"panel/{place:02d}" for place in range(FIRST)]
    sections: dict[str, list[Any]] = {
        **by_axis,
        "Cost fronts": [panel for cost in COSTS for panel in scatter(wr.SummaryMetric(f"cost/{cost}"), COSTS[cost])],
        "Method by method": [wr.BarPlot(title=titles[metric], metrics=[keys[metric]]) for metric in metrics],
        "Pictures: truth, measurement, reconstruction": [
            wr.MediaBrowser(title=place, media_keys=[place], mode="gallery", gallery_axis="run") for place in places
        ],
        "While it runs": [
            wr.LinePlot(title=f"{title}, mean so far", x="images", y=[f"running/{name}"])
            for name, title in running.items()
        ],
        "Sequential Monte Carlo": [
            wr.LinePlot(title=title, x="smc/step", y=[f"smc/{name}"]) for name, title in CURVES.items()
        ],
    }
    return ws.Workspace(
        entity=entity,
        project=project,
        name=f"ldsmc_bench {task}" if task else "ldsmc_bench",
        sections=[ws.Section(name=name, panels=panels, is_open=name in by_axis) for name, panels in sections.items()],
        runset_settings=ws.RunsetSettings(
            query=f" {re.escape(task)} N=" if task else "",  # as the runs are named
            regex_query=task is not None,
            filters=[expr.Metric("JobType") == "run"],
            groupby=[expr.Config(key) for key in ("task.name", "method.name", "setting")],
        ),
    )


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

            if not wandb.login(prompt=False, verify=False):
                raise UserError("no W&B key here; `wandb login` gives one, or set WANDB_API_KEY")
            if not (owner := options.entity or wandb.Api().default_entity):
                raise UserError("--entity: this W&B key has no user or team of its own; name one")
            print(workspace(owner, options.project, metrics, options.task).save().url)
        except ImportError as error:
            raise UserError(f"{error.name} is not installed: pip install 'ldsmc_bench[dashboard]'") from error
        except UserError:
            raise
        except Exception as error:  # W&B's own, of any kind
            raise UserError(f"W&B: {type(error).__name__}: {one_line(error)}") from error


if __name__ == "__main__":
    sys.exit(main())
