"""The sub-commands: `ldsmc-bench <word>` and `python -m ldsmc_bench <word>`; anything else is a run."""

from collections.abc import Callable
from importlib import import_module

from ldsmc_bench.errors import UserError, nearest

# By word, the module of its `main`, which is imported once it is asked for, and a line for --help.
COMMANDS = {
    "status": ("commands.status", "images of each run that are done, missing, failed and why; time left; jobs"),
    "doctor": ("commands.doctor", "what of GPU, weights, data, W&B, SLURM, LaTeX is there; what brings the rest"),
    "tables": ("report.tables.__main__", "the tables of a paper, as LaTeX, Markdown, CSV and Parquet"),
    "figures": ("report.figures.__main__", "any metric against particles, steps, cost, draws or difficulty; ESS"),
    "samples": ("report.figures.samples", "chosen images as methods restored them, with zoomed details"),
    "film": ("commands.film", "the reverse process of one image as a GIF, and its particles' family tree"),
    "page": ("report.page.__main__", "all results as one page for a browser"),
    "calibration": ("commands.calibration", "are draws those of the posterior? Of runs with draws=K"),
    "power": ("commands.power", "which differences the images detect, and how many a wished one takes"),
    "preflight": ("commands.preflight", "check a sweep before it runs, and estimate its time"),
    "fetch": ("fetch.__main__", "download checkpoints and the networks of metrics"),
    "publish": ("commands.publish", "pack finished runs, for others to merge"),
    "merge": ("commands.merge", "take in the runs that others published"),
    "rescore": ("commands.rescore", "add metrics that finished runs lack"),
    "reference": ("commands.reference", "statistics of a folder of pictures, for FID and KID"),
    "tune": ("commands.tune", "search for hyper-parameters of a method, on validation images"),
    "wandb": ("tracking.__main__", "send finished runs to Weights & Biases"),
    "dashboard": ("tracking.dashboard", "make a W&B workspace"),
    "exactness": ("commands.exactness", "method=...: does it draw from the posterior? Else a figure of such runs"),
    "leaderboard": ("commands.leaderboard", "how near methods come to known posteriors, at equal denoiser calls"),
    "draw-posterior": ("mixture.draw_posterior", "reference draws of nonlinear measurements of Gaussian mixtures"),
    "train-mixture": ("mixture.learned", "train the networks of prior=learned on draws of Gaussian mixtures"),
    "replay": ("replay.__main__", "repeat a recorded run of a public code, and compare"),
    "verify": ("replay.verify", "compare a checkpoint or operators with recorded outputs"),
    "speed": ("commands.speed", "seconds an image, on this machine"),
    "threads": ("speed.threads", "compare numbers of threads, on this machine"),
    "faces": ("toyfaces.__main__", "draw a sheet of toyfaces"),
    "train": ("toyfaces.train", "train an embedded network"),
    "prior-report": ("toyfaces.prior_report", "samples of the embedded prior beside the data set"),
}
# Those that make or check what comes with the program: --help names them in one line.
OF_THE_HOUSE = ("replay", "verify", "threads", "faces", "train", "prior-report", "draw-posterior", "train-mixture")


def find_command(word: str) -> Callable[[], int]:
    """The function of a sub-command. Raises UserError for an unknown word."""
    if word not in COMMANDS:
        raise UserError(f"{word}: no such command; {nearest(word, COMMANDS)}; settings of a run are written key=value")
    main: Callable[[], int] = import_module(f"ldsmc_bench.{COMMANDS[word][0]}").main
    return main
