"""Take the runs of archives into a results folder; nothing is written where one contradicts what is there."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ldsmc_bench.cli import Options, entry
from ldsmc_bench.commands.archive import SUFFIX, Archive, id_of, unpack
from ldsmc_bench.commands.publish import AT_END
from ldsmc_bench.errors import UserError, warn
from ldsmc_bench.files import publish, replace, writing
from ldsmc_bench.records.problems import problem_of_run
from ldsmc_bench.records.record import Record, is_done, load
from ldsmc_bench.records.status import request, request_of
from ldsmc_bench.records.store import MERGED, Store, amend, draw_stores, glances, image_path, keep, of_draw, open_store
from ldsmc_bench.records.store import record_path as path_of

TOLERANCE = 0.05  # relative, of a metric: machines round differently, and some samplers amplify it
Rows = dict[tuple[int, str], Record]  # the records of a run, by draw and image


@entry
def main(arguments: Sequence[str] | None = None) -> None:
    """Check all archives, then take them in."""
    parser = Options("merge", __doc__, results_dir=True)
    parser.add_argument("archives", nargs="+", type=Path, metavar="ARCHIVE", help="zip files, or folders of them")
    options = parser.read(arguments)
    archives = [unpack(path) for given in options.archives for path in expand(given)]
    taken = [(archive, name, rows_of(archive, name)) for archive in archives for name in run_names(archive)]
    for archive, name, rows in taken:
        check(archive, name, rows, options.results_dir)
    for archive, name, rows in taken:
        check(archive, name, rows, options.results_dir)  # again, for an archive may contradict the one before
        print(f"{name}: {take(archive, name, rows, options.results_dir)}")


def expand(given: Path) -> list[Path]:
    """An archive, or those in a folder. Raises UserError where there is none."""
    found = sorted(given.glob(f"*{SUFFIX}")) if given.is_dir() else [given] if given.is_file() else []
    if not found:
        raise UserError(f"{given}: no archive there; publish makes them")
    return found


def run_names(archive: Archive) -> list[str]:
    """The runs of an archive. Raises UserError for one whose id is not that of its configuration."""
    names = sorted({PurePosixPath(name).parts[1] for name in archive.files if name.startswith("runs/")})
    for name in names:
        if name != id_of(archive.files.get(f"runs/{name}/config.yaml", b"")):
            raise UserError(f"{archive.path}: {name} is not the id of its config.yaml; ask for the archive again")
    return names


def rows_of(archive: Archive, name: str) -> Rows:
    """The records of a run."""
    found = Rows()
    for path, data in archive.below(f"runs/{name}/").items():
        parts = PurePosixPath(path).parts
        if parts[-2:-1] == ("records",):
            draw = int(parts[1]) if parts[0] == "draws" else 0
            found[draw, parts[-1].removesuffix(".json")] = json.loads(data)
    return found


def check(archive: Archive, name: str, rows: Rows, results_dir: Path) -> None:
    """Compare a run with the same run here. Raises UserError, which names an image, where the two contradict."""
    store = Store(results_dir / "runs" / name, name)
    for (draw, image_id), theirs in rows.items():
        ours = load(path_of(of_draw(store, draw), image_id))
        if not ours or ours["status"] != "ok" or theirs["status"] != "ok":
            continue
        if why := difference(ours, theirs):
            where = f"{image_id}, draw {draw}" if draw else image_id
            remedy = f"move {store.root} away to take theirs, or publish without that run"
            raise UserError(f"{archive.path}: {name} contradicts the one in {results_dir}: {where}: {why}; {remedy}")


def difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str | None:
    """The contradiction between two records of one image; None where rounding explains it."""
    if ours.get("truth") != theirs.get("truth"):
        return "another true image"
    if ours.get("draws") != theirs.get("draws"):  # of a problem, all in one record: the scores of more are other ones
        return None
    for metric in ours["metrics"].keys() & theirs["metrics"].keys():
        a, b = ours["metrics"][metric], theirs["metrics"][metric]
        if not math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=1e-3):
            return f"{metric} {a:.4g} here, {b:.4g} there"
    return None


def take(archive: Archive, name: str, rows: Rows, results_dir: Path) -> str:
    """Add what a run here lacks; what is here stays. Returns an account of it."""
    files = archive.below(f"runs/{name}/")
    store = open_store(results_dir, name, files["config.yaml"].decode())
    here = {(one.draw, image_id): found for one in draw_stores(store) for image_id, found in glances(one).items()}
    before = {key for key, found in here.items() if is_done(found, (rows.get(key) or found).get("draws") or 1)}
    problem = problem_of_run(store)
    assert problem is not None  # its config.yaml was just read
    pictures = {path: data for path, data in files.items() if path.endswith(".png")}
    with writing(store.root):
        for root, kept in ((problem.root, archive.below(f"problems/{problem.problem_id}/")), (store.root, pictures)):
            for path, data in kept.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                publish(root / path, data)
        for (draw, image_id), record in rows.items():  # after their pictures
            if not keep(one := of_draw(store, draw), record) and (draw, image_id) not in before:  # ours has fewer draws
                amend(one, record)
                shown = image_path(one, image_id)
                if picture := pictures.get(shown.relative_to(store.root).as_posix()):
                    replace(shown, picture)
        request(store, request_of(json.loads(files["requested.json"])))
        added = len(rows.keys() - before)
        if added and before <= rows.keys():  # theirs is the larger one, with its scores of all
            for path in files.keys() & set(AT_END):
                replace(store.root / path, files[path])
        elif added:
            (store.root / "summary.json").unlink(missing_ok=True)
            warn(f"{name}: each side has images that the other lacks; python -m ldsmc_bench rescore makes its summary")
        if added:
            source = {"by": archive.by, "sha256": archive.sha256, "rows": added}
            with (store.root / MERGED).open("a", encoding="utf-8") as file:
                file.write(json.dumps(source) + "\n")
    return f"{added} of {len(rows)} rows added" if added else "all of it is here"
