"""The command line: `python -m ldsmc_bench method=ldsmc task=freeform -m particles=1,5,10`."""

import os
import sys

import hydra
from omegaconf import DictConfig

from ldsmc_bench.sweep import exit_code, job


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def compose(cfg: DictConfig) -> None:
    job(cfg)


def multirun_first(arguments: list[str]) -> list[str]:
    """Hydra reads overrides on one side of -m only; with the flag in front they may stand anywhere.

    It heeds a launcher in a sweep only, so a launcher makes a sweep, if of one point.
    """
    flags = [argument for argument in arguments if argument in ("-m", "--multirun")]
    flags += ["-m" for argument in arguments if argument.startswith("hydra/launcher=")]
    return flags[:1] + [argument for argument in arguments if argument not in ("-m", "--multirun")]


def main() -> None:
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come here, where one line is made of them
    sys.argv[1:] = multirun_first(sys.argv[1:])
    if {"results_dir=", "results_dir=null"} & set(sys.argv):  # Hydra would make a folder called None for its logs
        sys.exit("error: results_dir: must name a folder")
    try:
        compose()
    except KeyboardInterrupt:
        sys.exit("\nstopped; the same command goes on from here")
    except Exception as error:
        from ldsmc_bench.composition import explained

        line = explained(error, sys.argv[1:])
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        sys.exit(2)
    sys.exit(exit_code())


if __name__ == "__main__":
    main()
