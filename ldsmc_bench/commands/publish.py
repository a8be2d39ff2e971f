"""Pack finished runs into archives, for others to merge.

Records, pictures, configuration and provenance. A run that is merged with fewer pictures shows in tables and on the
page, but cannot be scored again or be extended.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ldsmc_bench.cli import Options, entry, require_runs
from ldsmc_bench.commands.archive import SUFFIX, id_of, pack
from ldsmc_bench.errors import UserError, nearest, warn
from ldsmc_bench.records.problems import problem_of_run
from ldsmc_bench.records.status import statuses
from ldsmc_bench.records.store import Store, draw_stores, image_path, outcomes, record_path, runs, spread_path

AT_END = ("draws.json", "particles.json", "summary.json")  # of a run, where it has them


@entry
def main(arguments: Sequence[str] | None = None) -> None:
    """Write the archive or archives."""
    parser = Options("publish", __doc__, results_dir=True)
    parser.add_argument("--out", type=Path, required=True, help="a zip file, or a folder: an archive a run")
    parser.add_argument("--runs", default="", metavar="ID,ID", help="run ids (default: every finished run)")
    parser.add_argument("--pictures", default="all", metavar="N", help="of the first N images (default: all)")
    parser.add_argument("--truths", choices=("true", "false"), default="true", help="false: none of the data set's")
    parser.add_argument("--by", default="", help="your name, for the manifest")
    options = parser.read(arguments)
    require_runs(options.results_dir)
    if options.pictures != "all" and not options.pictures.isdecimal():
        raise UserError(f"pictures={options.pictures}: must be a number of images, or all")
    most = None if options.pictures == "all" else int(options.pictures)
    chosen = choose(options.results_dir, [name for name in options.runs.split(",") if name])
    files = {store.run_id: dict(contents(store, most, options.truths == "true")) for store in chosen}
    if options.out.suffix == SUFFIX:
        packed = {options.out: {name: path for of_run in files.values() for name, path in of_run.items()}}
    else:
        packed = {options.out / f"{name}{SUFFIX}": of_run for name, of_run in files.items()}
    for path, of_archive in packed.items():
        pack(path, of_archive, options.by)
    total = sum(path.stat().st_size for path in packed)
    print(
        f"{len(chosen)} runs in {options.out} ({total / 1e6:.1f} MB); to take them in: "
        f"python -m ldsmc_bench merge {options.out} results_dir=..."
    )


def choose(results_dir: Path, names: Sequence[str]) -> list[Store]:
    """The finished runs among those named, or all. Raises UserError for an unknown name and where none is finished."""
    found = {store.run_id: store for store in runs(results_dir)}
    for name in names:
        if name not in found:
            raise UserError(f"runs={name}: no such run in {results_dir}; {nearest(name, found)}")
    complete = {one.run_id for one in statuses(results_dir) if one.complete}
    wanted = names or list(found)
    if left := [name for name in wanted if name not in complete]:
        warn(f"left out, as they are not finished: {', '.join(left)}")
    damaged = [n for n in wanted if n in complete and id_of((found[n].root / "config.yaml").read_bytes()) != n]
    if damaged:
        why = "their config.yaml gives another id; delete that file and repeat the run's command"
        warn(f"left out, as {why}: {', '.join(damaged)}")
    if not (chosen := [found[name] for name in wanted if name in complete and name not in damaged]):
        raise UserError(
            f"{results_dir}: no finished run to publish; python -m ldsmc_bench status shows what is missing"
        )
    return chosen


def contents(store: Store, most: int | None, truths: bool) -> Iterator[tuple[str, Path]]:
    """The files of a run by their names in an archive: records of all images, pictures of the first `most`."""
    shown = sorted(outcomes(store))[:most]
    paths = [store.root / name for name in ("config.yaml", "requested.json", *AT_END)]
    for drawn in draw_stores(store):
        paths += [record_path(drawn, name) for name, status in outcomes(drawn).items() if status != "failed"]
        paths += [path_of(drawn, name) for name in shown for path_of in (image_path, spread_path)]
    if truths and (problem := problem_of_run(store)):
        paths.append(problem.root / "problem.yaml")
        paths += [column / f"{name}.png" for column in sorted(problem.root.glob("*/")) for name in shown]
    return ((path.relative_to(store.results_dir).as_posix(), path) for path in paths if path.is_file())
