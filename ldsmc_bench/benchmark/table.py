"""The benchmark's lines for a terminal."""

from collections.abc import Callable, Mapping, Sequence

from ldsmc_bench.benchmark.course import STEPS
from ldsmc_bench.benchmark.measure import Line

ORDERS = {"ours": "", "public": " in the public order"}
COLUMNS: dict[str, Callable[[Line], str]] = {
    "what": lambda line: f"{line.method}/{line.variant}{ORDERS[line.order]}",
    "task": lambda line: line.task,
    "prior": lambda line: line.prior,
    "precision": lambda line: line.precision,
    "N": lambda line: str(line.particles),
    "batch": lambda line: str(line.batch),
    "start s": lambda line: f"{line.seconds.start:.3g}",
    "step s": lambda line: f"{line.seconds.step:.3g}",
    "k<s step s": lambda line: f"{line.seconds.labelled:.3g}" if line.seconds.labelled else "-",
    "end s": lambda line: f"{line.seconds.end:.3g}",
    f"s/image at {STEPS}": lambda line: f"{line.seconds.whole:.1f}",
    "PFLOP/image": lambda line: f"{line.pflop:.3g}",
    "GFLOP/s": lambda line: f"{line.flops / 1e9:.4g}",
    "of matrix rate": lambda line: f"{100 * line.flops / line.matrix_rate:.0f} %",
    "memory MB": lambda line: f"{line.memory_mb:.0f}",
    "outside networks": lambda line: f"{100 * line.outside:.1f} %",
}
LEFT = ("what", "task", "prior", "precision")


def table(lines: Sequence[Line]) -> str:
    """One row a line, numbers to the right; times are an image's."""
    cells = [list(COLUMNS), *([told(line) for told in COLUMNS.values()] for line in lines)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if name in LEFT else cell.rjust(width)
            for name, cell, width in zip(COLUMNS, row, widths, strict=True)
        ).rstrip()
        for row in cells
    )


def compared(ours: Line, ratio: Mapping[str, float]) -> str:
    """How much longer the public order takes than one of our lines."""
    return (
        f"N={ours.particles} {ours.precision}: the public order takes {ratio['seconds']:.2f} times as long as ours with"
        f" batch {ours.batch}, and {ratio['operations']:.2f} times the operations"
    )
