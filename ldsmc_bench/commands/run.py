"""Runs, by Hydra: `ldsmc-bench method=ldsmc task=freeform -m particles=1,5,10`."""

import os
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig

from ldsmc_bench.cli import entry
from ldsmc_bench.commands.messages import explaining
from ldsmc_bench.commands.sweep import forget, job, report
from ldsmc_bench.errors import UserError
from ldsmc_bench.files import CONF


@entry
def main() -> int:
    """Run what the command line asks for; the exit code is that of `report`, or 2 for a mistake in it."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come here, where one line is made of them
    sys.argv[1:] = flags_first(sys.argv[1:])
    forget()
    with explaining(sys.argv[1:]):
        _compose()
    return report()


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def _compose(cfg: DictConfig) -> None:
    job(cfg)


def flags_first(arguments: Sequence[str]) -> list[str]:
    """Hydra reads overrides on one side of its flags only; with the flags in front they may be anywhere.

    `--results-dir R` is results_dir=R, as for other commands. Hydra heeds a launcher in a sweep only, so a launcher
    makes a sweep, if of one point. Raises UserError for flags that are unknown or do not go together.
    """
    parser, ours = get_args_parser(), ArgumentParser(add_help=False, allow_abbrev=False)
    ours.add_argument("--results-dir", action="append", default=[])
    parser.error = ours.error = _refuse  # type: ignore[method-assign]
    folders, arguments = ours.parse_known_args(arguments)
    arguments += [f"results_dir={folder}" for folder in folders.results_dir]
    pairs = zip(arguments, [*arguments[1:], ""], strict=True)  # --info may have a value, which an override is not
    flags = [
        "--info=all" if one in ("--info", "-i") and ("=" in after or not after[:1].isalpha()) else one
        for one, after in pairs
    ]
    options, unknown = parser.parse_known_intermixed_args(flags)
    if unknown:
        _refuse(f"{' '.join(one for one in unknown if one.startswith('-'))}: no such flag")
    if options.experimental_rerun is not None and not Path(options.experimental_rerun).is_file():
        raise UserError(f"--experimental-rerun {options.experimental_rerun}: no such file; give a job's config.pickle")
    shown = [flag for flag in ("cfg", "info") if getattr(options, flag) is not None]
    if options.multirun and shown:
        raise UserError(
            f"--{shown[0]} shows one run: leave out -m and give each key one value "
            "(ldsmc-bench preflight looks at all of a sweep)"
        )
    for override in options.overrides:
        flags.remove(override)
    launched = any(override.startswith("hydra/launcher=") for override in options.overrides)
    single = shown or options.multirun or options.help or options.hydra_help or options.shell_completion
    return [*flags, *(["-m"] if launched and not single else []), *options.overrides]


def _refuse(message: str) -> NoReturn:
    raise UserError(f"{message}; ldsmc-bench --help shows what there is")
