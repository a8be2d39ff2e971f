"""Where a fetched file is, for the rooms that read it, and how much of it is there."""

from pathlib import Path

from ldsmc_bench.errors import UserError
from ldsmc_bench.fetch.digests import recorded
from ldsmc_bench.fetch.sources import SOURCES, Source, Sources
from ldsmc_bench.prior.cache import cache_folder, weights_folder


def where(name: str, sources: Sources = SOURCES) -> Path:
    """The file that `python -m ldsmc_bench.fetch <name>` brought, such as `metric=niqe`; nothing is downloaded.

    A loader of a folder takes its parent. Raises UserError, with the command, where the file is absent, or is not as
    long as it was when it was fetched; its digest is what the command checks.
    """
    path = place(name, known(name, sources))
    command = f"python -m ldsmc_bench.fetch {name}"
    if not path.is_file():
        raise UserError(f"{name} is not in the cache ({path}): {command}")
    if (entry := recorded(path)) and entry["bytes"] != (size := path.stat().st_size):
        raise UserError(f"{path}: has {size} bytes instead of {entry['bytes']}: {command} --force")
    return path


def place(name: str, source: Source) -> Path:
    """Where the file of this source is, or would be: `<cache>/weights/<prior>/…` or `<cache>/metrics/<metric>/…`."""
    kind, _, which = name.partition("=")
    folder = weights_folder(which) if kind == "prior" else cache_folder() / "metrics" / which
    return folder / source.file


def known(name: str, sources: Sources) -> Source:
    """The source of this name. Raises UserError where there is none."""
    if name not in sources:
        raise UserError(f"{name}: nothing is known by this name; choose from {', '.join(sources)}")
    return sources[name]


def part_of(path: Path) -> Path:
    """Where a file grows while it is downloaded."""
    return path.with_name(path.name + ".part")


def state(name: str, source: Source, sources: Sources) -> str:
    """What the cache holds of it, in a few words."""
    path = place(name, source)
    if path.exists():
        try:
            return f"in the cache, {in_words(where(name, sources).stat().st_size)}"
        except UserError:
            return "damaged: use --force"
    part = part_of(path.with_name(source.offered))
    if part.exists():
        return f"begun, {in_words(part.stat().st_size)}"
    return "not yet" if source.url else "by hand"


def in_words(size: int) -> str:
    """A number of bytes for people, in powers of 1000: 4.27 GB."""
    amount = float(size)
    for unit in ("bytes", "kB", "MB"):
        if amount < 999.5:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.2f} GB"
