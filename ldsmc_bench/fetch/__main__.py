"""`python -m ldsmc_bench.fetch NAME ...`: bring weights of priors and of metrics' networks into the cache.

Nothing else in the program downloads. The cache is $LDSMC_CACHE, else ldsmc_bench in the user's cache directory. A
download that stopped goes on where it was; a file whose digest is not known is recorded when it first comes, in
digests.json there, and must stay the same.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from ldsmc_bench.errors import UserError
from ldsmc_bench.fetch.download import Patience
from ldsmc_bench.fetch.obtain import Way, obtain
from ldsmc_bench.fetch.places import in_words, known, state
from ldsmc_bench.fetch.sources import SOURCES, Sources
from ldsmc_bench.prior.cache import cache_folder


def main(arguments: Sequence[str] | None = None, sources: Sources = SOURCES) -> int:
    """Fetch what is named, one after another.

    The exit code is 0, or 2 if anything that was asked for is not there in the end.
    """
    parser = _parser(sources)
    options = parser.parse_args(arguments)
    try:
        if options.list:
            print(listed(sources))
            return 0
        if not options.names:
            parser.print_help()
            return 0
        for name in options.names:
            known(name, sources)
        if options.given and len(options.names) > 1:
            raise UserError("--from gives one file: name one source")
        if options.mirror and urlsplit(options.mirror).scheme not in ("http", "https"):
            raise UserError(f"--mirror {options.mirror}: give an address such as https://mirror.example/models")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    way = Way(options.given, options.force, options.mirror, Patience(timeout=options.timeout))
    return max([_fetch(name, sources, way) for name in dict.fromkeys(options.names)])


def _fetch(name: str, sources: Sources, way: Way) -> int:
    """One source; what is wrong with it does not keep the next one from coming."""
    try:
        print(obtain(name, sources[name], way), flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def listed(sources: Sources) -> str:
    """A table of all sources: name, size where it is known, state in the cache, publisher and page."""
    rows = [("name", "size", "state", "publisher")]
    for name, source in sources.items():
        size = f"{in_words(source.size)}" if source.size else "?"
        rows.append((name, size, state(name, source, sources), f"{source.publisher}: {source.page}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, f"cache: {cache_folder()}"])


def _parser(sources: Sources) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ldsmc_bench.fetch",
        description=(__doc__ or "").partition(": ")[2],
        epilog=f"names: {', '.join(sources)}",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="such as prior=ldm_ffhq or metric=inception")
    parser.add_argument("--list", action="store_true", help="all names, with what the cache holds of them")
    parser.add_argument("--force", action="store_true", help="fetch anew what is there")
    parser.add_argument(
        "--from", dest="given", type=Path, metavar="FILE", help="take this file, as the publisher offers it"
    )
    parser.add_argument("--mirror", metavar="URL", help="stands for the publishers' hosts; the paths stay")
    parser.add_argument(
        "--timeout", type=_seconds, default=20.0, metavar="SECONDS", help="without a sign of the server (default: 20)"
    )
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError
    return seconds


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nstopped; the same command goes on from here")
