"""`python -m ldsmc_bench calibration`: what it prints and writes of runs with several draws, and what it refuses."""

import csv
import json
import re
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ldsmc_bench.calibration.judge import equally_weighted, find_draws, find_particles, judge
from ldsmc_bench.commands.attributes import attribute_table, judge_attributes
from ldsmc_bench.records.particles import read_particles
from ldsmc_bench.records.store import Store
from ldsmc_bench.scoring.protocols import PROTOCOLS
from ldsmc_bench.toyfaces import semantics
from tests.commands import LIGHT, Done, command, flawed, runs, tiny

ROOT = Path(__file__).parent.parent
FEW = (*LIGHT, "task=box", "n_images=3", "batch_size=3")


def calibration(folder: Path) -> Done:
    return command(folder, "calibration")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    folder = tmp_path_factory.mktemp("drawn")
    done = tiny(folder, *FEW, "draws=4")
    assert done.code == 0, done.err
    return folder, calibration(folder)


def test_a_table_and_figures_are_made_of_each_task(drawn: tuple[Path, Done]) -> None:
    folder, done = drawn
    assert done.code == 0, done.err
    assert "box inpainting, toyfaces: 4 draws of each image" in done.out
    assert "coverage of 60 %" in done.out
    table = folder / "results" / "tables" / "calibration-box-toyfaces-4.csv"
    rows = {row["metric"]: row for row in csv.DictReader(table.open())}
    assert {(row["method"], row["n"]) for row in rows.values()} == {("ldsmc", "3")}
    there = {name for name, one in PROTOCOLS.items() if one.per in ("draws", "pooled")}
    assert rows.keys() == there - {"coverage_90"}, "of four draws, both coverages are of 60 %"
    latex = table.with_suffix(".tex").read_text()
    assert "\\toprule" in latex and r"coverage of 60\,\%" in latex
    assert r"\caption{box inpainting, toyfaces: 4 draws of each image, 3 images" in latex
    written = {path.name for path in (folder / "results" / "figures").glob("*.png")}
    assert {f"{kind}-box-toyfaces-4.png" for kind in ("ranks", "tarp", "sbc")} <= written
    assert {f"draws-{run.name}.png" for run in runs(folder)} <= written


def test_a_copy_of_records_and_scores_gives_the_same_tables_and_figures(
    drawn: tuple[Path, Done], tmp_path: Path
) -> None:
    whole, copy = drawn[0] / "results", tmp_path / "results"
    kept = shutil.ignore_patterns("images", "draws", "spread")
    shutil.copytree(whole / "runs", copy / "runs", ignore=kept)
    done = calibration(tmp_path)
    assert (done.code, done.out) == (0, drawn[1].out), done.err
    made = {
        path.relative_to(copy): path.read_bytes() for kind in ("tables", "figures") for path in (copy / kind).iterdir()
    }
    assert len(made) == 11
    assert all((whole / path).read_bytes() == content for path, content in made.items())
    (record,) = copy.glob("runs/*/records/test-000001.json")
    record.write_text(record.read_text().replace('"truth": "', '"truth": "0'))
    assert "box inpainting, toyfaces: 4 draws" in (done := calibration(tmp_path)).out
    assert "1 of 3 images left out, without 4 draws" in done.out, "scores of another truth"


def test_scores_are_those_of_the_kept_pictures_in_the_hole(drawn: tuple[Path, Done]) -> None:
    folder, _ = drawn
    run = runs(folder)[0]
    scores = json.loads((run / "draws.json").read_text())["test-000001"]["scores"]
    pictures = [
        np.asarray(Image.open(run / part / "images" / "test-000001.png"))
        for part in ("", *map("draws/{}".format, (1, 2, 3)))
    ]
    (problem,) = (folder / "results" / "problems").iterdir()
    truth, measured = (np.asarray(Image.open(problem / kind / "test-000001.png")) for kind in ("truth", "measurement"))
    values = np.stack(pictures) / 255
    (one,) = [one for one in find_draws(Store(run, run.name), 4) if one.image_id == "test-000001"]
    hidden = one.hidden().permute(1, 2, 0).numpy()
    assert 0.1 < hidden.mean() < 0.5 and (measured[hidden] == 128).all()
    assert scores["spread"] == pytest.approx(values.std(axis=0, ddof=1)[hidden].mean())
    mean_error = np.square(values.mean(axis=0) - truth / 255)
    assert scores["error_sum"] == pytest.approx(mean_error[hidden].sum())
    assert scores["psnr_mean"] == pytest.approx(-10 * np.log10(mean_error.mean()), abs=1e-3)
    assert sum(scores["histogram"]) == hidden.sum()


def test_scores_are_kept(drawn: tuple[Path, Done]) -> None:
    run = runs(drawn[0])[0]
    store, kept = Store(run, run.name), (run / "draws.json").stat()
    images = find_draws(store, 4)
    assert list(judge(store, "toyfaces", 4, images)) == ["test-000000", "test-000001", "test-000002"]
    assert (run / "draws.json").stat().st_mtime_ns == kept.st_mtime_ns
    (run / "draws.json").write_text("[half")
    assert len(judge(store, "toyfaces", 4, images)) == 3, "a damaged file is made anew"
    fewer = judge(store, "toyfaces", 2, find_draws(store, 2))
    assert {one.scores.draws for one in fewer.values()} == {2}, "other scores for another number of draws"


def test_runs_and_images_with_other_numbers_of_draws_and_repeated_pictures_are_named(tmp_path: Path) -> None:
    assert tiny(tmp_path, *FEW, "draws=2").code == 0
    assert tiny(tmp_path, *FEW, "n_images=2", "draws=3").code == 0
    assert tiny(tmp_path, *FEW, *flawed("blank"), "draws=2").code == 0
    done, (repeated, mixed) = calibration(tmp_path), sorted(run.name for run in runs(tmp_path))
    assert done.code == 0, done.err
    assert f"box, toyfaces: a table for each number of draws (2: {repeated}; 3: {mixed})" in done.out
    assert "LD-SMC: 1 of 3 images left out, without 3 draws" in done.out
    assert "blank: 3 of 3 images have one picture 2 times" in done.out


def test_what_cannot_be_judged_is_one_line(tmp_path: Path) -> None:
    remedy = "give a run's command with draws=16"
    assert calibration(tmp_path).errors == [f"error: no run in results has several draws of an image; {remedy}"]
    assert tiny(tmp_path, *FEW).code == 0
    assert calibration(tmp_path).errors == [
        "error: no run in results has several draws of an image; give a run's command with draws=16"
    ]
    assert tiny(tmp_path, *FEW, "draws=2", "shard=0", "shards=2").code == 0
    done = calibration(tmp_path)
    assert done.code == 2 and "left out: " in done.err and "draws of each image" not in done.out
    assert done.errors == ["error: no run with several draws in results is complete; give its command again"]


def test_another_mask_outdates_the_scores_of_its_image_alone(drawn: tuple[Path, Done]) -> None:
    run = runs(drawn[0])[0]
    store = Store(run, run.name)
    before = judge(store, "toyfaces", 4, find_draws(store, 4))
    (mask,) = (drawn[0] / "results" / "problems").glob("*/observed/test-000002.png")
    whole = mask.read_bytes()
    Image.fromarray(np.asarray(Image.open(mask)) & 0).save(mask)
    try:
        after = judge(store, "toyfaces", 4, find_draws(store, 4))
    finally:
        mask.write_bytes(whole)
    changed = [name for name, one in after.items() if one != before[name]]
    assert changed == ["test-000002"] and sum(after["test-000002"].scores.histogram) == 3 * 64 * 64


def test_without_kept_problems_a_line_names_the_remedy(tmp_path: Path) -> None:
    done = tiny(tmp_path, *FEW, "draws=2", "keep_problems=false")
    assert done.code == 0 and "without truths and masks these draws cannot be judged later" in done.err
    (error,) = calibration(tmp_path).errors
    assert "keep_problems=false" in error and "run any other method on the same images" in error
    assert tiny(tmp_path, *FEW, "particles=1").code == 0
    assert calibration(tmp_path).code == 0


def test_particles_as_draws_have_a_table_of_their_own(tmp_path: Path) -> None:
    assert tiny(tmp_path, *FEW, "particles=4", "particles_as_draws=true").code == 0
    done, (run,) = calibration(tmp_path), runs(tmp_path)
    assert done.code == 0, done.err
    assert "4 weighted particles of one run for each image, resampled by weight, as one correlated set" in done.out
    written = {path.name for path in (tmp_path / "results").glob("*/*") if "4" in path.name}
    assert "calibration-box-toyfaces-4-particles.tex" in written and "ranks-box-toyfaces-4-particles.png" in written
    assert not {"calibration-box-toyfaces-4.tex", "ranks-box-toyfaces-4.png"} & written
    one = find_particles(Store(run, run.name))[0]
    pictures, _ = read_particles(Store(run, run.name), one.image_id)
    assert {draw.tobytes() for draw in one.draws().numpy()} <= {picture.tobytes() for picture in pictures}
    assert len(one.draws()) == 4 and np.array_equal(one.draws(), one.draws())


def test_a_particle_is_in_its_set_as_often_as_its_weight_says() -> None:
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.full(7, 0.3))
    chosen = np.array([equally_weighted(weights, rng) for _ in range(400)])
    counts = np.array([np.bincount(one, minlength=7) for one in chosen])
    assert (np.abs(counts - 7 * weights) < 1).all(), "rounded up or down"
    assert counts.mean(axis=0) == pytest.approx(7 * weights, abs=4 * 0.5 / 20)
    heaviest = chosen == weights.argmax()
    assert np.ptp(heaviest.mean(axis=0)) < 0.2, "in random order"


def test_hidden_attributes_of_faces_are_judged(tmp_path: Path) -> None:
    hole = ("task=box", "task.operator.size=160", "n_images=10", "batch_size=5")
    assert tiny(tmp_path, *LIGHT, *hole, "draws=2").code == 0
    (run,) = runs(tmp_path)
    *table, csv_file, curves, pooled, ranks = judge_attributes(
        semantics, tmp_path, "box", "box", {"LD-SMC": find_draws(Store(run, run.name), 2)}
    )
    assert "LD-SMC: attributes that the measurement hides" in table[0] and "eye_colour" in table[1]
    assert csv_file == f"table: {tmp_path / 'tables' / 'attributes-box.csv'}"
    rows = list(csv.DictReader((tmp_path / "tables" / "attributes-box.csv").open()))
    assert {(row["method"], row["draws"]) for row in rows} == {("LD-SMC", "2")}
    assert all(float(row["brier"]) < 1 and row["attribute"] in table[1] for row in rows)
    names = ("reliability-box", "reliability-box-pooled", "sbc-attributes-box")
    assert [curves, pooled, ranks] == [f"figure: {tmp_path / 'figures' / name}.png" for name in names]


def test_a_brier_score_below_0_is_printed_as_it_is() -> None:
    table = attribute_table([{"attribute": "hat", "images": 8, "brier": -0.012, "p": 0.0004, "read": "100 97"}])
    assert "-0.012" in table and "< 0.001" in table and table.count("<") == 1


def table_rows(text: str) -> list[list[str]]:
    """The cells of Markdown tables, without marks of the best."""
    lines = re.sub(r"\*\*|</?ins>| †|\\", "", text).splitlines()
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines if line.startswith("|")]


@pytest.mark.slow
def test_the_published_tables_are_those_of_the_kept_scores(tmp_path: Path) -> None:
    with tarfile.open(ROOT / "results" / "showcase" / "calibration_scores.tar.gz") as scores:
        scores.extractall(tmp_path / "results", filter="data")
    assert calibration(tmp_path).code == 0
    pages = [ROOT / "ldsmc_bench" / "calibration" / "README.md", ROOT / "README.md"]
    page, readme = (table_rows(path.read_text("utf-8")) for path in pages)
    first = next(place for place, row in enumerate(readme) if row[1].startswith("box: "))
    shown = {row[0]: row[1:] for row in readme[first:]}
    for task, columns in (("box", slice(0, 3)), ("freeform", slice(3, 6))):
        header, _, *rows = table_rows((tmp_path / f"results/tables/calibration-{task}-toyfaces-16.md").read_text())
        first = next(place for place, row in enumerate(page) if row[0].startswith(f"{task}, 64 faces"))
        there = {row[0]: row[1:] for row in page[first : first + 9]}
        assert len(rows) == 7
        for row in rows:
            cells = dict(zip(header, row, strict=True))
            name = {"LD-SMC": f"LD-SMC, N={cells['N']}", "DPS": "DPS, in pixels"}.get(row[0], row[0])
            half, most = cells["coverage of 53 %"], cells["coverage of 88 %"]
            spread, crps = cells["spread/skill → 1"], cells["CRPS ↓"]
            assert there[name] == [spread, half, most, crps, cells["TARP p"]]
            *shares, short = shown[name][columns]
            assert shares == [spread, half]
            for rounded, number in zip(short.split(" ± "), crps.split(" ± "), strict=True):
                assert len(rounded) == len("0.053") and abs(float(rounded) - float(number)) < 0.00056  # 0.0525 was more
