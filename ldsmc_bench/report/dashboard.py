"""The W&B workspace of a project of runs: `python -m ldsmc_bench.report.dashboard [--project P] [--task T]`.

It needs the package wandb-workspaces, `pip install 'ldsmc_bench[dashboard]'`, and a key for W&B.
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ldsmc_bench.errors import UserError
from ldsmc_bench.report.wandb_follow import quiet
from ldsmc_bench.report.wandb_part import PANEL
from ldsmc_bench.scoring.protocols import PROTOCOLS

if TYPE_CHECKING:
    import wandb_workspaces.workspaces as ws

METRICS = ("psnr", "lpips_vgg", "niqe", "fid_clean", "toyfaces_perceptual", "toyfaces_fid")
AXES = {"particles": "particles", "steps": "steps", "s": "method.sample.s"}  # what is swept, and its key
COSTS = {"seconds": "seconds an image", "denoiser_forward": "denoiser calls an image"}
CURVES = {"ess": "effective sample size", "resampled": "share of images resampled", "entropy": "weight entropy"}


def workspace(entity: str, project: str, metrics: Sequence[str] = METRICS, task: str | None = None) -> "ws.Workspace":
    """The panels people want, of a task's runs or all, grouped by task, method and setting: a mean over seeds each.

    A shard's images are the whole run's too, so that shards are left out.
    """
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces import expr

    def scatter(metric: str, x: Any, title_x: str, **how: Any) -> wr.ScatterPlot:
        return wr.ScatterPlot(title=f"{_title(metric)} by {title_x}", x=x, y=wr.SummaryMetric(_key(metric)), **how)

    by_axis = {
        f"Metrics by {axis}": [scatter(metric, wr.Config(key), axis, log_x=axis != "s") for metric in metrics]
        for axis, key in AXES.items()
    }
    fronts = [
        scatter(metric, wr.SummaryMetric(f"cost/{cost}"), title, log_x=True)
        for cost, title in COSTS.items()
        for metric in metrics
    ]
    bars = [wr.BarPlot(title=_title(metric), metrics=[_key(metric)]) for metric in metrics]
    pictures = [
        wr.MediaBrowser(title=f"image {place}", media_keys=[f"panel/{place:02d}"], mode="gallery", gallery_axis="run")
        for place in range(PANEL)
    ]
    running = [metric for metric in metrics if PROTOCOLS[metric].per == "image"]
    live = [
        wr.LinePlot(title=f"{title}, mean so far", x="images", y=[f"running/{name}"])
        for name, title in [*((metric, PROTOCOLS[metric].label) for metric in running), ("seconds", "seconds an image")]
    ]
    smc = [wr.LinePlot(title=title, x="smc/step", y=[f"smc/{name}"]) for name, title in CURVES.items()]
    evidence = wr.LinePlot(title="log-evidence, mean so far", x="images", y=["running/log_evidence"])
    sections: dict[str, Sequence[Any]] = {
        **by_axis,
        "Cost fronts": fronts,
        "Method by method": bars,
        "Pictures: truth, measurement, reconstruction": pictures,
        "While it runs": live,
        "Sequential Monte Carlo": [*smc, evidence],
    }
    return ws.Workspace(
        entity=entity,
        project=project,
        name=f"ldsmc_bench {task}" if task else "ldsmc_bench",
        sections=[ws.Section(name=name, panels=list(sections[name]), is_open=name in by_axis) for name in sections],
        runset_settings=ws.RunsetSettings(
            query=f" {re.escape(task)} N=" if task else "",  # as the runs are named
            regex_query=task is not None,
            filters=[expr.Metric("JobType") == "run"],
            groupby=[expr.Config(key) for key in ("task.name", "method.name", "setting")],
        ),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the workspace and print its address; the exit code is 0, or 1 with one line that says why not."""
    parser = argparse.ArgumentParser(
        prog="python -m ldsmc_bench.report.dashboard", description="Make a W&B workspace for the runs of a project."
    )
    parser.add_argument("--entity", help="user or team (default: yours)")
    parser.add_argument("--project", default=os.environ.get("WANDB_PROJECT", "ldsmc_bench"))
    parser.add_argument(
        "--metrics", default=",".join(METRICS), help="which metrics, separated by commas (default: %(default)s)"
    )
    parser.add_argument("--task", help="show the runs on this task only (default: all, grouped by task)")
    options = parser.parse_args(arguments)
    try:
        with quiet():
            print(_saved(options.entity, options.project, _known(options.metrics.split(",")), options.task))
        return 0
    except UserError as error:
        line = str(error)
    except Exception as error:  # W&B's own, of whatever kind
        line = f"W&B: {type(error).__name__}: {' '.join(str(error).split())}"
    print(f"error: {line}", file=sys.stderr)
    return 1


def _saved(entity: str | None, project: str, metrics: Sequence[str], task: str | None) -> str:
    try:
        import wandb
        import wandb_workspaces  # noqa: F401
    except ImportError as error:
        raise UserError(f"{error.name} is not installed: pip install 'ldsmc_bench[dashboard]'") from error
    if not wandb.login(prompt=False, verify=False):
        raise UserError("no W&B key here; `wandb login` gives one, or set WANDB_API_KEY")
    owner = entity or os.environ.get("WANDB_ENTITY") or wandb.Api().default_entity
    if not owner:
        raise UserError("--entity: this W&B key has no user or team of its own; name one")
    return str(workspace(owner, project, metrics, task).save().url)


def _known(metrics: Sequence[str]) -> Sequence[str]:
    for metric in metrics:
        if metric not in PROTOCOLS:
            raise UserError(f"--metrics: {metric}: no such metric; there are: {', '.join(PROTOCOLS)}")
    return metrics


def _key(metric: str) -> str:
    """Where a run's summary in W&B has it."""
    return f"{'metrics' if PROTOCOLS[metric].per == 'image' else 'sets'}/{metric}"


def _title(metric: str) -> str:
    protocol = PROTOCOLS[metric]
    better = {"higher": "higher is better", "lower": "lower is better", "one": "1 is right"}[protocol.better]
    return f"{protocol.label} ({better})"


if __name__ == "__main__":
    sys.exit(main())
