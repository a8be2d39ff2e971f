"""Which rows of its history a W&B run has: the number of a row is its W&B step, so a resumed run doubles none."""

from pathlib import Path

from ldsmc_bench.records.publish import replace

UNKNOWN = ""  # a row that another machine sent


class Rows:
    """The names of the rows in their order: an image's id, or `/...` for what is no image.

    A name is on the disk before its row goes out. So after a kill the file may name rows that W&B never got, at its
    end, and never lacks one; `step`, where W&B says that it goes on, tells how many to believe.
    """

    def __init__(self, path: Path, step: int) -> None:
        names = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
        self.path = path
        self.names = [*names[:step], *[UNKNOWN] * (step - len(names))]
        replace(path, "".join(f"{name}\n" for name in self.names).encode())

    def add(self, name: str) -> int:
        """The step of a new row."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(f"{name}\n")
        self.names.append(name)
        return len(self.names) - 1
