"""What the page is made of: exact numbers, truths and measurements made again, sheets made once."""

import json
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ldsmc_bench import toyfaces
from ldsmc_bench.records.summary import summarise
from ldsmc_bench.report.page.__main__ import build, main
from ldsmc_bench.report.page.pictures import ACROSS
from tests.report.stored import measured, stored

IDS = toyfaces.ids("test")[:3]


def index(results: Path) -> dict[str, Any]:
    """The data in the page."""
    text = (results / "page" / "index.html").read_text(encoding="utf-8")
    return json.loads(text.split('type="application/json">')[1].split("</script>")[0])


def script(results: Path, name: str) -> dict[str, Any]:
    """What a script beside the page hands over."""
    text = (results / "page" / "data" / f"{name}.js").read_text(encoding="utf-8")
    named, told = json.loads(f"[{text.removeprefix('receive(').removesuffix(');' + chr(10))}]")
    assert named == name
    return told


def small(results: Path, pictures: dict[str, Any], image_id: str, side: int = 64) -> np.ndarray:
    """An image's picture on its sheet."""
    i = pictures["ids"].index(image_id)
    with Image.open(results / "page" / "pictures" / pictures["folder"] / pictures["files"][0]) as sheet:
        left, top = i % ACROSS * side, i // ACROSS * side
        return np.array(sheet.crop((left, top, left + side, top + side)), dtype=float)


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """Root mean square of the difference, grey levels."""
    return float(np.sqrt(np.mean((a - b.astype(float)) ** 2)))


@pytest.mark.parametrize("task", ["denoise", "box"])
def test_truth_and_measurement_are_those_that_were_kept(tmp_path: Path, task: str) -> None:
    root = stored(tmp_path, "ldsmc", task, IDS)
    build(tmp_path)
    [problem] = index(tmp_path)["problems"]
    told = script(tmp_path, problem["key"])
    run = script(tmp_path, root.name)
    for image_id in IDS:
        # a sheet is not exact (WebP), but another image is ten times as far
        truth = toyfaces.array(image_id)
        assert apart(small(tmp_path, told["truth"], image_id), truth) < 6
        assert apart(small(tmp_path, told["measurement"], image_id), measured(truth, task)) < 25
        with Image.open(root / "images" / f"{image_id}.png") as kept:
            assert apart(small(tmp_path, run["pictures"], image_id), np.array(kept)) < 10
    assert apart(small(tmp_path, told["truth"], IDS[0]), toyfaces.array(IDS[1])) > 40


def test_the_numbers_are_those_of_the_records(tmp_path: Path) -> None:
    root = stored(tmp_path, "ldsmc", "box", IDS, lost={IDS[1]: "</script> & no memory"}, particles=5, pictures=False)
    build(tmp_path)
    records = [json.loads((root / "records" / f"{image_id}.json").read_text()) for image_id in IDS]
    summary = summarise(records, {})
    [run] = index(tmp_path)["runs"]
    for key in ("psnr", "ssim", "toyfaces_perceptual"):
        expected = summary["metrics"][key]
        assert run["values"][key][:2] == pytest.approx([expected["mean"], expected["se"]], rel=1e-12)
    assert run["values"]["toyfaces_fid"][1] == 2.0
    assert run["values"]["passes"][0] == 100 * 4  # 100 denoiser and decoder calls, and 100 backward ones for two
    told = script(tmp_path, root.name)
    assert told["ids"] == list(IDS) and told["lost"] == {"1": ["failed", "</script> & no memory"]}
    assert told["values"]["psnr"][0] == records[0]["metrics"]["psnr"]
    assert told["values"]["psnr"][1] is None
    assert len(told["steps"]["ess"]["mean"]) == 20
    assert run["problem"] is None and "pictures" not in told  # nothing to show, and nothing breaks


def test_a_second_build_makes_only_what_is_new_and_forgets_what_is_gone(tmp_path: Path) -> None:
    old, gone = stored(tmp_path, "ldsmc", "box", IDS), stored(tmp_path, "psld", "denoise", IDS)
    build(tmp_path)

    def sheets() -> dict[Path, tuple[int, int]]:
        return {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in (tmp_path / "page").rglob("*.webp")}

    before = sheets()
    shutil.rmtree(gone)
    new = stored(tmp_path, "dps", "box", IDS)
    build(tmp_path)
    after = sheets()
    kept = {path for path in before if path.parent.name.startswith((old.name, "measurement-box", "truth-box"))}
    assert len(kept) == 4 and all(after[path] == before[path] for path in kept)
    assert {path.parent.name for path in after.keys() - kept} == {new.name, f"{new.name}-error"}
    assert not (tmp_path / "page" / "data" / f"{gone.name}.js").exists()


def test_a_problem_that_was_not_kept_is_missing_with_the_reason(tmp_path: Path) -> None:
    stored(tmp_path, "ldsmc", "box", IDS)
    (problem,) = (tmp_path / "problems").glob("box-*")
    shutil.rmtree(problem / "measurement")
    build(tmp_path)
    [problem] = index(tmp_path)["problems"]
    assert "keep_problems=false" in problem["missing"]
    assert script(tmp_path, problem["key"]) == {"missing": problem["missing"]}


def test_a_truth_that_is_another_picture_now_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = stored(tmp_path, "ldsmc", "box", IDS), stored(tmp_path, "dps", "box", IDS)

    def recorded(root: Path, image_id: str, truth: np.ndarray) -> None:
        path = root / "records" / f"{image_id}.json"
        digest = sha256(np.ascontiguousarray(truth.transpose(2, 0, 1)).tobytes()).hexdigest()[:16]
        path.write_text(json.dumps(json.loads(path.read_text()) | {"truth": digest}))

    recorded(first, IDS[0], toyfaces.array(IDS[0]))
    recorded(first, IDS[1], toyfaces.array(IDS[2]))
    for root, shown in ((first, IDS[2]), (second, IDS[0])):  # the runs do not agree
        recorded(root, IDS[2], toyfaces.array(shown))
    build(tmp_path)
    assert f"{IDS[1]}, …: 2 pictures have changed since they were restored" in capsys.readouterr().err
    told = script(tmp_path, index(tmp_path)["problems"][0]["key"])
    for column in ("truth", "measurement"):
        black = [bool(small(tmp_path, told[column], image_id).mean() < 2) for image_id in IDS]
        assert black == [False, True, True]


def test_a_damaged_picture_costs_one_tile_and_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = stored(tmp_path, "ldsmc", "box", IDS)
    (root / "images" / f"{IDS[1]}.png").write_bytes(b"no picture")
    build(tmp_path)
    assert capsys.readouterr().err.count("absent or damaged") == 1
    pictures = script(tmp_path, root.name)["pictures"]
    assert small(tmp_path, pictures, IDS[1]).mean() < 2 and small(tmp_path, pictures, IDS[2]).mean() > 50


def test_the_command_says_where_the_page_is_or_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored(tmp_path, "ldsmc", "box", IDS, pictures=False)
    assert main(["--results-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"page: {tmp_path / 'page' / 'index.html'}\n"
    assert len(index(tmp_path)["runs"]) == 1
    assert main(["--results-dir", str(tmp_path / "absent")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
