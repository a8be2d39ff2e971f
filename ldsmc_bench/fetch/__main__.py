"""`python -m ldsmc_bench fetch NAME ...`: bring weights of priors and of metrics' networks into the cache.

Nothing else in the program downloads. The cache is $LDSMC_CACHE, else ldsmc_bench in the user's cache directory. A
download that stopped goes on where it was; a file whose digest is not known is recorded when it first comes, in
digests.json there, and must stay the same.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from ldsmc_bench.cli import Options, entry, going_on
from ldsmc_bench.errors import UserError
from ldsmc_bench.fetch.obtain import obtain
from ldsmc_bench.fetch.sources import SOURCES, Sources, describe_state, format_size, require_source
from ldsmc_bench.files import cache_folder
from ldsmc_bench.text import text_table


@entry
def main(arguments: Sequence[str] | None = None, sources: Sources = SOURCES) -> int:
    """Fetch what is named, one after another.

    The exit code is 0, or 2 if anything that was asked for is not there in the end.
    """
    parser = Options("fetch", f"{(__doc__ or '').partition(': ')[2]}\nnames: {', '.join(sources)}")
    option = parser.add_argument
    option("names", nargs="*", metavar="NAME", help="such as prior=ldm_ffhq or metric=inception")
    option("--list", action="store_true", help="all names, with what the cache holds of them")
    option("--force", action="store_true", help="fetch anew what is there")
    option("--from", dest="given", type=Path, metavar="FILE", help="take this file, as the publisher offers it")
    option("--mirror", metavar="URL", help="in place of the publishers' hosts; the paths stay")
    wait = "without a sign of the server (default: 20)"
    option("--timeout", type=_seconds, default=20.0, metavar="SECONDS", help=wait)
    options = parser.read(arguments)
    if options.list:
        print(list_sources(sources))
        return 0
    if not options.names:
        parser.print_help()
        return 0
    for name in options.names:
        require_source(name, sources)
    if options.given and len(options.names) > 1:
        raise UserError("--from gives one file: name one source")
    if options.mirror and urlsplit(options.mirror).scheme not in ("http", "https"):
        raise UserError(f"--mirror {options.mirror}: give an address such as https://mirror.example/models")
    failed: list[str] = []
    for name in dict.fromkeys(options.names):
        with going_on(failed):
            print(obtain(name, sources[name], options), flush=True)
    return 2 if failed else 0


def list_sources(sources: Sources) -> str:
    """A table of all sources: name, size where it is known, state in the cache, publisher and page."""
    columns = {
        "name": list(sources),
        "size": [format_size(source.size) if source.size else "?" for source in sources.values()],
        "state": [describe_state(name, source, sources) for name, source in sources.items()],
        "publisher": [f"{source.publisher}: {source.page}" for source in sources.values()],
    }
    return f"{text_table(columns, left=columns)}\ncache: {cache_folder()}"


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError
    return seconds


if __name__ == "__main__":
    sys.exit(main())
