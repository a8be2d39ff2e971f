"""`python -m ldsmc_bench threads [KEY=VALUE ...]`: is running/threads.py's choice a good one here?

Times a short chain with each choice of threads and waiting, alone and beside busy processes.
"""

import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from statistics import median

from ldsmc_bench.cli import Options, entry
from ldsmc_bench.errors import UserError
from ldsmc_bench.running.threads import MARK, cores, heed_load
from ldsmc_bench.text import text_table

ALL = {"OMP_NUM_THREADS": str(cores())}
CHOICES: dict[str, Mapping[str, str]] = {
    "as chosen": {},
    "one thread": {"OMP_NUM_THREADS": "1"},
    "all, no spinning": ALL | {"OMP_WAIT_POLICY": "passive"},
    "all, long spins": ALL | {"GOMP_SPINCOUNT": "300000"},  # the default of OpenMP and PyTorch
}
BUSY = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"
WORK = "import sys; from ldsmc_bench.speed.threads import work; work(sys.argv[1:])"
SETTLE = 0.5  # seconds between a change of the load and the next measurement
Worker = subprocess.Popen[str]


@entry
def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit code is 0."""
    parser = Options("threads", "Time each choice of threads and waiting, alone and beside busy processes.")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of a run's command")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is timed (default: 5)")
    parser.add_argument("--busy", type=int, default=cores(), help="busy processes (default: as many as cores)")
    options = parser.read(arguments)
    overrides = options.overrides or ["particles=1", "batch_size=1"]
    load = os.getloadavg()[0]
    seconds = time_choices(overrides, (0, options.busy), options.rounds)
    columns = {"": list(CHOICES)}
    for busy, of_choices in seconds.items():
        medians = [median(of_choices[name]) for name in CHOICES]
        heading = f"beside {busy} busy" if busy else "alone"
        columns[heading] = [f"{value:.2f} ({value / min(medians):.2f})" for value in medians]
    print(f"seconds of {' '.join(overrides)}, medians of {options.rounds} turns (and times the least of the column)")
    print(text_table(columns, left=("",)))
    print(f"{cores()} cores; other load before: {load:.1f}")
    return 0


def time_choices(overrides: Sequence[str], loads: Sequence[int], rounds: int) -> dict[int, dict[str, list[float]]]:
    """Seconds of each round, by load and choice; they take turns, so that other loads affect them alike."""
    seconds: dict[int, dict[str, list[float]]] = {load: defaultdict(list) for load in loads}
    with ExitStack() as workers:
        started = {name: _start(workers, WORK, *overrides, choice=choice) for name, choice in CHOICES.items()}
        for worker in started.values():
            _time(worker)  # warms up
        for _ in range(rounds):
            for load in loads:
                with ExitStack() as beside:
                    for _ in range(load):
                        _start(beside, BUSY)
                    time.sleep(SETTLE)
                    for name, worker in started.items():
                        seconds[load][name].append(_time(worker))
    return seconds


@entry
def work(overrides: Sequence[str]) -> None:
    """Run a pass for each line of the input, and print its seconds."""
    from ldsmc_bench.speed.setup import prepare
    from ldsmc_bench.speed.timing import time_pass

    setup = prepare([*overrides, "device=cpu"])
    for _ in sys.stdin:
        heed_load()  # of the time in which others were measured
        time.sleep(SETTLE)
        heed_load()
        print(sum(time_pass(setup).seconds), flush=True)


def _start(stack: ExitStack, code: str, *arguments: str, choice: Mapping[str, str] | None = None) -> Worker:
    """A process that ends with `stack`, with one choice of threads in place of what this one inherited or made."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "MKL_")) and k != MARK}
    worker = stack.enter_context(
        subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**kept, **(choice or {})},
        )
    )
    stack.callback(worker.kill)
    return worker


def _time(worker: Worker) -> float:
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.write("\n")
    worker.stdin.flush()
    if not (answer := worker.stdout.readline()):
        raise UserError("a measured process broke off; its error is above")
    return float(answer)


if __name__ == "__main__":
    sys.exit(main())
