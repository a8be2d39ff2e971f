"""The sources of fetched files (sources.yaml), the places of their files, and their state in the cache."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml

from ldsmc_bench.checkpoints.cache import weights_folder
from ldsmc_bench.errors import UserError
from ldsmc_bench.files import cache_folder
from ldsmc_bench.scoring.fetched import expect_size


@dataclass(frozen=True)
class Source:
    """One file of a publisher; sources.yaml explains the fields."""

    file: str
    publisher: str
    page: str
    url: str | None = None
    size: int | None = None
    sha256: str = ""

    @property
    def offered(self) -> str:
        """The name of what the publisher offers: that of the file itself, or of the archive it comes in."""
        name = unquote(urlsplit(self.url or "").path).rpartition("/")[2]
        return name if name.endswith(".zip") else self.file

    @property
    def packed(self) -> bool:
        return self.offered != self.file


Sources = Mapping[str, Source]
_TABLE = yaml.safe_load(Path(__file__).with_name("sources.yaml").read_text("utf-8"))
SOURCES: Sources = {name: Source(**fields) for name, fields in _TABLE.items()}


def where(name: str, sources: Sources = SOURCES) -> Path:
    """The file that `python -m ldsmc_bench fetch <name>` brought, such as `metric=niqe`; nothing is downloaded.

    Raises UserError, with the command, where the file is absent, or is not as long as it was when it was fetched; its
    digest is what the command checks.
    """
    path = place(name, require_source(name, sources))
    if not path.is_file():
        raise UserError(f"{name} is not in the cache ({path}): python -m ldsmc_bench fetch {name}")
    return expect_size(path, name)


def place(name: str, source: Source) -> Path:
    """The path of this source's file, fetched or not: `<cache>/weights/<prior>/…` or `<cache>/metrics/<metric>/…`."""
    kind, _, which = name.partition("=")
    folder = weights_folder(which) if kind == "prior" else cache_folder() / "metrics" / which
    return folder / source.file


def require_source(name: str, sources: Sources) -> Source:
    """The source of this name. Raises UserError where there is none."""
    if name not in sources:
        raise UserError(f"{name}: there is no source of this name; choose from {', '.join(sources)}")
    return sources[name]


def part_of(path: Path) -> Path:
    """The path of a file while it is downloaded."""
    return path.with_name(path.name + ".part")


def describe_state(name: str, source: Source, sources: Sources) -> str:
    """The state of a source in the cache, in a few words."""
    path = place(name, source)
    if path.exists():
        try:
            return f"in the cache, {format_size(where(name, sources).stat().st_size)}"
        except UserError:
            return "damaged: use --force"
    part = part_of(path.with_name(source.offered))
    if part.exists():
        return f"begun, {format_size(part.stat().st_size)}"
    return "not yet" if source.url else "by hand"


def format_size(size: int) -> str:
    """A number of bytes for people, in powers of 1000: 4.27 GB."""
    amount = float(size)
    for unit in ("bytes", "kB", "MB"):
        if amount < 999.5:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.2f} GB"
