"""`python -m ldsmc_bench exactness method=mine`: does a sampler draw from the posterior, and if not, what is wrong?

Takes the arguments of a run. The sampler draws 300 times from each of eight posteriors that are known
(conf/experiment/panel.yaml), and the answer is in words, for each value of a sweep: for each aspect the mean over the
problems, in brackets its 95 % interval by a bootstrap over them, and where it fails. Draws are kept: more problems
(n_images=5) or draws (draws=1000) fill in.

Without method=... a figure of the runs in the results folder, of how near they come to known posteriors against
particles; its options are results_dir=R and out=FILE.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from ldsmc_bench.cli import entry, going_on
from ldsmc_bench.commands import run, sweep
from ldsmc_bench.mixture.distances import Score
from ldsmc_bench.mixture.kept import judge_kept, world_of
from ldsmc_bench.mixture.verdict import verdict
from ldsmc_bench.records.jobs import Job
from ldsmc_bench.records.store import Store, read_summary
from ldsmc_bench.report.figures import exactness as figure
from ldsmc_bench.report.select import display_name

PANEL = ("experiment=panel", "-m")


@entry
def main() -> int:
    """Judge a sampler; 0 if it could be judged, whatever the answer, else the code of its run. Or draw the figure."""
    given = sys.argv[1:]
    if {"-h", "--help"} & set(given):
        print(__doc__)
        return 0
    if not any(one.startswith("method=") for one in given):
        return figure.main()
    sys.argv[1:] = [*given, *(one for one in PANEL if one not in given)]
    if code := run.main():
        return code
    failed: list[str] = []
    for name, jobs in by_sampler(sweep.jobs()).items():
        with going_on(failed, name):
            print("\n".join(answer(name, jobs)), flush=True)
    return 2 if failed else 0


def by_sampler(jobs: Sequence[Job]) -> dict[str, list[Job]]:
    """The jobs of each sampler, by its name with its variant and numbers."""
    found: dict[str, list[Job]] = {}
    for job in jobs:
        if job.run_id:
            found.setdefault(_name(job), []).append(job)
    return found


def _name(job: Job) -> str:
    config = job.asked
    method = display_name("method", config.method.name)
    variant = "" if config.variant == "default" else f" {config.variant}"
    numbers = {"N": "particles", "steps": "steps"}
    settings = [f"{short}={config[key]}" for short, key in numbers.items() if key in config.method.sample]
    return ", ".join([method + variant, *settings])


def answer(name: str, jobs: Sequence[Job]) -> Iterator[str]:
    """The verdict on the runs of one sampler, and what a draw costs."""
    problems: dict[str, Mapping[str, Score]] = {}
    costs: dict[str, list[float]] = {}
    for job in jobs:
        store = Store(Path(job.asked.results_dir, "runs", str(job.run_id)), str(job.run_id))
        assert job.config is not None
        judged = judge_kept(store, job.config)
        problems |= {f"{world_of(job.asked)} {problem}": scores for problem, scores in judged.items()}
        for key, mean in (read_summary(store) or {"cost": {}})["cost"].items():
            costs.setdefault(key, []).append(mean["mean"])
    lines = verdict(problems, int(jobs[0].asked.draws))
    yield f"\n{name}: {lines[0]}"
    yield from lines[1:]
    counted = ("denoiser_forward", "denoiser_backward", "seconds")
    forward, backward, seconds = (fmean(costs.get(key, [0.0])) for key in counted)
    yield f"  {'cost':12}  {forward:,.0f} denoiser calls, {backward:,.0f} backward passes, {seconds:.2g} s a draw"


if __name__ == "__main__":
    sys.exit(main())
