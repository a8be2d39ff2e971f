"""A run's records beside its pictures: rows of exchanged ones are set aside, and a summary ends the run."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ldsmc_bench.errors import UserError, notify, warn
from ldsmc_bench.files import read_json, write_file
from ldsmc_bench.problem.datasets import Dataset, truth_digest
from ldsmc_bench.problem.problem import to_uint8
from ldsmc_bench.records.pictures import is_truth
from ldsmc_bench.records.problems import ProblemStore, read_picture
from ldsmc_bench.records.record import glance
from ldsmc_bench.records.status import requested
from ldsmc_bench.records.store import (
    Store,
    draw_stores,
    glances,
    of_draw,
    outcomes,
    read,
    read_image,
    read_summary,
    record_path,
    set_aside,
    write_summary,
)
from ldsmc_bench.records.summary import not_converged, summarise
from ldsmc_bench.records.view import tally
from ldsmc_bench.scoring.metrics import complete_summary, set_scores


def set_changed_aside(store: Store, dataset: Dataset) -> None:
    """Set aside the records of pictures that were exchanged since, so that these are computed again.

    A picture whose file is as it was is not read; one that was copied anew is read once, and its digest is kept by the
    state of its file, in `truths.json`. Pictures that are gone keep their records, and a warning counts them. Raises
    UserError where the store cannot be written.
    """
    if dataset.state is None:
        return
    there, gone, changed = set(dataset.ids), 0, []
    path = store.root / "truths.json"
    digests = dict(known := read_json(path))
    for drawn in draw_stores(store):
        for name, one in glances(drawn).items():
            if one["status"] != "ok" or not one["truth"]:
                continue
            gone += name not in there
            # Unless another shard has computed it again meanwhile.
            if name in there and _differs(dataset, name, one, digests) and glance(record_path(drawn, name)) == one:
                set_aside(drawn, name, one["truth"])
                changed.append(name)
    if digests != known:
        write_file(path, json.dumps(digests).encode())
    if gone:
        warn(f"{store.root}: {gone} of its rows are of pictures that left dataset.root, and still count in its tables")
    if changed := list(dict.fromkeys(changed)):
        names = f"{changed[0]}{f' and {len(changed) - 1} more' if changed[1:] else ''}"
        notify(f"{store.run_id}: changed since and computed again: {names}; former rows: {store.root / 'replaced'}")


def _differs(dataset: Dataset, image_id: str, record: Mapping[str, Any], digests: dict[str, str]) -> bool:
    """True if an image's file is not that of its record, by the `digests` of files' states, which grow."""
    assert dataset.state is not None
    state = dataset.state(image_id)
    if state in (None, record["truth_file"]):
        return False
    if state not in digests:
        try:
            digests[state] = truth_digest(to_uint8(dataset.load(image_id)))
        except UserError:
            return True  # it will fail, and say why
    return digests[state] != record["truth"]


def find_truth(problems: ProblemStore | None, dataset: Dataset | None, record: Mapping[str, Any]) -> Tensor:
    """The true image of a record, uint8 (C,H,W): as it was kept with its problem, or loaded from the data set.

    Raises UserError where there is neither, or the data set has another picture now.
    """
    image_id, digest = record["image_id"], record.get("truth")
    kept = read_picture(problems, "truth", image_id) if problems else None
    if kept is not None and is_truth(kept, digest):
        return torch.from_numpy(kept).permute(2, 0, 1)
    if dataset is None:
        raise UserError(f"{image_id}: its true image is not kept (keep_problems=false, or problems/ was removed)")
    truth = to_uint8(dataset.load(image_id))
    if digest not in (None, truth_digest(truth)):
        raise UserError(f"{image_id}: its picture has changed since it was restored; give the run's command again")
    return truth


def conclude(
    store: Store,
    ids: Sequence[str],
    device: torch.device,
    problems: ProblemStore | None,
    dataset: Dataset | None = None,
    unscored: str | None = None,
) -> None:
    """Write the summary, of draw 0, once all draws asked for of the first `ids` have their records, whichever shard
    ends last.

    It counts all rows of the run, as tables do: those of images that the data set has lost too. Set metrics leave out
    what is not in `ids`, whose truth may be gone. Truths are found as `find_truth` does; `unscored` is the reason why
    there are no metrics.
    """
    request = requested(store)
    asked, known = ids[: request.images[0] if request else 0], set(ids)
    if request is None or not asked:
        return
    later = 0  # draws after draw 0 that failed
    for number, count in enumerate(request.images):
        found = outcomes(of_draw(store, number), asked[:count])
        if len(found) < min(count, len(asked)):
            return
        later += sum(status == "failed" for status in found.values()) if number else 0
    records = read(store)
    if any(one["status"] == "ok" and one.get("draws", request.each) < request.each for one in records):
        return
    summary = summarise(records, {"warning": unscored} if unscored else {})
    summary |= {"draws": request.draws, "draws_failed": later, "each": request.each}
    scored = [one for one in records if one["status"] == "ok" and "truth" in one and one["image_id"] in known]
    if scored and not unscored:
        pictures = np.stack([read_image(store, record["image_id"]) for record in scored])
        images = torch.from_numpy(pictures).permute(0, 3, 1, 2)
        truths = (find_truth(problems, dataset, record) for record in scored)
        summary["sets"] = set_scores(scored[0]["dataset"], images, truths, device, read_summary(store))
        summary = complete_summary(summary, images.shape[1:])
    if doubt := not_converged(summary):
        summary["sets"]["warning"] = "; ".join(filter(None, (summary["sets"].get("warning"), doubt)))
    write_summary(store, summary)
    for drawn in draw_stores(store):
        tally(drawn)  # which keeps the view
