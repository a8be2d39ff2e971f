"""A record never answers for another picture than the one it was computed from."""

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from omegaconf import OmegaConf
from PIL import Image

from ldsmc_bench.errors import UserError
from ldsmc_bench.photos.folder import folder
from ldsmc_bench.photos.ids import read_ids
from ldsmc_bench.problem import pictures
from ldsmc_bench.records.store import Store, glances, read, read_summary
from ldsmc_bench.run import run
from ldsmc_bench.running.conclude import set_changed_aside
from tests.commands import LIGHT, TINY, configured

SAMPLER = {"_target_": "tests.samplers.only_steps", "_partial_": True, "steps": "${steps}"}
NAMES = {"folder": ["00000", "00001"], "ffhq": read_ids("ffhq", "test")[:2]}


def paint(folder: Path, *names: str, colour: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        Image.new("RGB", (64, 64), colour).save(folder / f"{name}.png")


def restore(results: Path, root: Path, *overrides: str, dataset: str = "folder") -> Store:
    cfg = configured(
        *TINY, "task=denoise", f"dataset={dataset}", f"dataset.root={root}", *overrides, f"results_dir={results}"
    )
    OmegaConf.set_struct(cfg, False)
    cfg.prior = configured(*LIGHT).prior
    cfg.method = {"name": "only_steps", "sample": SAMPLER}
    return run(cfg)


def written(store: Store) -> dict[str, tuple[float, int]]:
    """When each record was written, and its digest of the truth, by image."""
    records = {record["image_id"]: record for record in read(store)}
    times = {name: (store.root / "records" / f"{name}.json").stat().st_mtime_ns for name in records}
    return {name: (records[name]["truth"], times[name]) for name in records}


@pytest.mark.parametrize("dataset", ["folder", "ffhq"])
def test_two_folders_with_the_same_names_share_no_row(tmp_path: Path, dataset: str) -> None:
    for place, colour in ("a", "red"), ("b", "blue"):
        paint(tmp_path / place, *NAMES[dataset], colour=colour)
    one, two = (restore(tmp_path / "results", tmp_path / place, dataset=dataset) for place in ("a", "b"))
    assert one.run_id != two.run_id
    assert len({record["truth"] for store in (one, two) for record in read(store)}) == 2


@pytest.mark.parametrize("dataset", ["folder", "ffhq"])
def test_an_exchanged_picture_is_computed_again_and_an_added_one_computes_only_itself(
    tmp_path: Path, dataset: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root, (first, second) = tmp_path / "a", NAMES[dataset]
    paint(root, first, second, colour="red")
    store = restore(tmp_path / "results", root, dataset=dataset)
    before, summary = written(store), read_summary(store)
    paint(root, second, colour="blue")
    assert restore(tmp_path / "results", root, dataset=dataset) == store
    after = written(store)
    assert after[first] == before[first] and after[second][0] != before[second][0]
    assert read_summary(store) != summary
    assert f"changed since and computed again: {second};" in capsys.readouterr().err
    assert [path.suffix for path in sorted((store.root / "replaced").iterdir())] == [".json", ".png"]
    more = "zz" if dataset == "folder" else read_ids("ffhq", "test")[2]
    paint(root, more, colour="green")
    assert restore(tmp_path / "results", root, "n_images=3", dataset=dataset) == store
    assert after.items() < written(store).items() and more in written(store)


def test_a_row_that_another_shard_has_just_made_anew_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "a"
    paint(root, "a", colour="red")
    store = restore(tmp_path / "results", root)
    seen = glances(store)
    paint(root, "a", colour="blue")
    restore(tmp_path / "results", root)
    after = written(store)
    monkeypatch.setattr("ldsmc_bench.running.conclude.glances", lambda store: seen)
    set_changed_aside(store, folder(str(root), 64))
    assert written(store) == after


def test_a_touched_picture_is_not_computed_again_and_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "a"
    paint(root, *NAMES["folder"], colour="red")
    before = written(restore(tmp_path / "results", root, "draws=2"))
    paint(root, *NAMES["folder"], colour="red")
    store = restore(tmp_path / "results", root, "draws=2")
    assert written(store) == before
    monkeypatch.setattr(pictures, "read", Mock(side_effect=AssertionError("read again")))
    set_changed_aside(store, folder(str(root), 64))
    (store.root / "truths.json").write_text("[")  # damaged
    with pytest.raises(AssertionError, match="read again"):
        set_changed_aside(store, folder(str(root), 64))


def test_pictures_that_left_are_counted_and_an_unreadable_one_is_no_longer_answered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "a"
    paint(root, "a", "b", "c", colour="red")
    store = restore(tmp_path / "results", root, "n_images=3")
    (root / "a.png").unlink()
    (root / "b.png").write_bytes(b"broken")
    restore(tmp_path / "results", root, "n_images=3")
    assert {record["image_id"]: record["status"] for record in read(store)} == {"a": "ok", "b": "failed", "c": "ok"}
    errors = capsys.readouterr().err
    assert "1 of its rows are of pictures that left dataset.root" in errors
    assert "n_images=3: dataset=folder has 2; all of them are taken" in errors


def test_a_picture_exchanged_before_the_set_metrics_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "a"
    paint(root, "a", "b", colour="red")

    def exchanged(*arguments: Any) -> Any:
        paint(root, "b", colour="blue")
        return summarise(*arguments)

    from ldsmc_bench.records.summary import summarise

    monkeypatch.setattr("ldsmc_bench.running.conclude.summarise", exchanged)
    with pytest.raises(UserError, match="b: its picture has changed since it was restored"):
        restore(tmp_path / "results", root, "keep_problems=false")
    paint(root, "b", colour="red")
    restore(tmp_path / "others", root)  # compares with the truths that were kept
