"""Sheets of chosen images for a paper: which pictures they show, where, and under which names."""

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from PIL import Image

from ldsmc_bench import toyfaces
from ldsmc_bench.errors import UserError
from ldsmc_bench.report import frame
from ldsmc_bench.report.figures.__main__ import options_of, tasks
from ldsmc_bench.report.figures.samples import Box, Choice, Column, columns_of, draw, main
from tests.report.stored import stored

IDS = [f"test-{i:06d}" for i in range(6)]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    for method, particles in ("ldsmc", 1), ("ldsmc", 5), ("dps", 1):
        stored(folder, method, "box", IDS, particles=particles)
    skipped = stored(folder, "psld", "box", IDS, lost={IDS[1]: "no such task"}) / "records" / f"{IDS[1]}.json"
    skipped.write_text(json.dumps(json.loads(skipped.read_text()) | {"status": "skipped"}))
    return folder


def shown(results: Path, *images: str, ours: str | None = None, **where: list[str]) -> list[Column]:
    layout = options_of(ours=ours, where=where)
    runs = frame.runs(results)
    [of_task] = tasks(runs, dict.fromkeys(runs["run_id"], runs.iloc[:0]), results, layout)
    return columns_of(of_task, Choice(images, [0], [], "psnr"))[0]


def test_columns_have_the_names_and_the_order_of_tables(results: Path) -> None:
    headings = [column.heading for column in shown(results, ours="ldsmc", method=["psld", "dps"])]
    assert headings == ["Truth", "Measurement", "PSLD", "DPS", "LD-SMC (ours)\nN=1", "LD-SMC (ours)\nN=5"]


def test_pictures_are_those_of_the_store_and_words_say_why_one_is_absent(results: Path) -> None:
    truth, _, ldsmc, *_, psld, _ = shown(results, "1", IDS[3], method=["ldsmc", "psld", "dps"])
    assert psld.heading == "PSLD" and psld.pictures[0] == "skipped" and psld.texts[0] == ""
    np.testing.assert_array_equal(truth.pictures[1], toyfaces.array(IDS[3]))
    runs = frame.runs(results)
    run = runs[(runs["method"] == "ldsmc") & (runs["particles"] == 1)]["run_id"].iloc[0]
    for i, image_id in enumerate((IDS[1], IDS[3])):
        kept = np.asarray(Image.open(results / "runs" / run / "images" / f"{image_id}.png"))
        np.testing.assert_array_equal(ldsmc.pictures[i], kept)
        record = json.loads((results / "runs" / run / "records" / f"{image_id}.json").read_text())
        assert ldsmc.texts[i] == f"{record['metrics']['psnr']:.2f}"


def test_pictures_that_were_not_published_are_missing_and_damaged_ones_are_told(tmp_path: Path) -> None:
    root = stored(tmp_path, "ldsmc", "box", IDS[:2])
    (root / "images" / f"{IDS[1]}.png").unlink()
    with pytest.raises(UserError, match="is absent or damaged"):
        shown(tmp_path)
    (root / "merged.jsonl").touch()
    assert shown(tmp_path)[2].pictures[1] == "missing" and not isinstance(shown(tmp_path)[2].pictures[0], str)
    (root / "images" / f"{IDS[0]}.png").write_bytes(b"")
    with pytest.raises(UserError, match="is absent or damaged"):
        shown(tmp_path)


def test_a_detail_of_a_smaller_measurement_shows_the_same_part(results: Path) -> None:
    truth, measured, *others = shown(results, "0")
    small = [np.asarray(picture)[::4, ::4] for picture in measured.pictures]
    figure = draw([truth, measured._replace(pictures=small), *others], [Box(20, 30, 16)], 3.25, 8)
    detail = [panel for panel in figure.axes if panel.get_images()][
        3
    ]  # after the truth, its detail, and the measurement
    assert (detail.get_xlim(), detail.get_ylim()) == ((4.5, 8.5), (11.0, 7.0))


def test_details_are_parts_of_their_pictures_side_by_side(results: Path) -> None:
    columns = shown(results, "0")
    figure = draw(columns, [Box(20, 30, 16), Box(40, 10, 12)], 3.25, 8)
    assert figure.get_figwidth() == 3.25
    pictures = [
        image.get_array() for panel in figure.axes for image in panel.get_images() if isinstance(image, AxesImage)
    ]
    assert len(pictures) == 3 * 6
    np.testing.assert_array_equal(pictures[0], columns[0].pictures[0])
    details = [panel for panel in figure.axes if panel.get_images()][1:3]
    assert [panel.get_xlim() for panel in details] == [(19.5, 35.5), (39.5, 51.5)]  # the same pixels of a picture
    assert [panel.get_ylim() for panel in details] == [(45.5, 29.5), (21.5, 9.5)]
    marks = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    frames = [panel.patches[0] for panel in figure.axes[1:3]]
    assert [mark.get_edgecolor() for mark in marks] == [frame.get_edgecolor() for frame in frames]
    assert marks[0].get_xy() == (19.5, 29.5) and marks[0].get_width() == 16


def test_the_command_writes_a_sheet_a_task_and_says_what_is_in_it(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"results_dir={results}", f"out={tmp_path}", "images=2", "draws=0,1", "style=icml", "where=method=dps"]
    assert main(given) == 0
    assert capsys.readouterr().out == f"samples: {tmp_path / 'samples-box-toyfaces.png'}\n"
    assert (tmp_path / "samples-box-toyfaces.pdf").read_bytes().startswith(b"%PDF")
    assert f"{IDS[2]}, seed 0." in (tmp_path / "samples-box-toyfaces_caption.tex").read_text()
    assert main([*given, "zoom=2,2,9", "width=1", "where=method=dps,psld,ldsmc"]) == 0
    assert "Box inpainting, toyfaces: " in (caption := (tmp_path / "samples-box-toyfaces_caption.tex").read_text())
    assert (
        "seed 0. Below pictures: their marked details." in caption and "draws" not in caption.partition("\\caption")[2]
    )
    assert "6 columns of 0.14 in: headings of 5 pt overlap; give fewer by where=method" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("images=test-0000000", "images=test-0000000: no run has this image; did you mean test-000000 or "),
        ("images=6", "images=6: no run has this image; "),
        ("zoom=1,2", "zoom=1,2: must be LEFT,TOP,SIDE in pixels, such as zoom=20,12,16"),
        ("zoom=60,0,16", "zoom=60,0,16: leaves the picture of 64x64"),
        ("metric=toyfaces_fid", "metric=toyfaces_fid: no such metric of an image; "),
        ("draws=all", "draws=all: must be numbers of draws, such as draws=0,1"),
        ("draws=1,2", "draws=1: no run of box inpainting, toyfaces was asked for this draw (draws=K)"),
        ("where=method=mine", "where=method=mine: no run has this; there are: dps, ldsmc, psld"),
    ],
)
def test_a_mistake_is_one_line(results: Path, option: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"results_dir={results}", option]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {line}") and err.count("\n") == 1
