"""The page's leaderboard and what else it knows of runs, against numbers that are computed here."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from ldsmc_bench import toyfaces
from ldsmc_bench.records.jobs import Job, keep
from ldsmc_bench.report.figures.plot import method_styles, style
from ldsmc_bench.report.page.__main__ import build
from ldsmc_bench.report.select import NAMES
from ldsmc_bench.report.statistics import UNPAIRED
from tests.report.made import made, psnr
from tests.report.stored import stored
from tests.report.test_page import index, script, small

LDSMC, DPS = [20.0, 22.0, 25.0, 21.0, 24.0, 23.0, 26.0], [19.0, 20.5, 24.0, 20.0, 22.5, 22.0, 24.0]


def entry(results: Path, method: str) -> dict[str, Any]:
    return next(one for one in index(results)["entries"] if one["method"] == method)


def test_seeds_are_averaged_ranked_and_tested_together(tmp_path: Path) -> None:
    first, second = np.array(LDSMC), np.add(LDSMC, [1, -1, 1, 2, 0, 1, 3])
    made(tmp_path, "ldsmc", "box", psnr(list(first)), seed=0)
    made(tmp_path, "ldsmc", "box", psnr(list(second)), seed=1)
    close = (first + second) / 2 + np.array([0.5, -0.5, 0.4, -0.6, 0.3, -0.2, 0.0])
    made(tmp_path, "psld", "box", psnr(list(close)), seed=0)
    made(tmp_path, "dps", "box", psnr(DPS), seed=0)
    build(tmp_path)
    assert (tmp_path / "page" / "index.html").read_text().count(UNPAIRED) == 2  # of the leaderboard and of two rows
    assert index(tmp_path)["boards"] == ["box inpainting · toyfaces · 100 steps · 7 images"]
    value, error, rank, mark, tied, images, seeds = entry(tmp_path, "ldsmc")["values"]["psnr"]
    assert (value, images, seeds) == (pytest.approx((first + second).mean() / 2, rel=1e-4), 7, 2)
    assert error > np.std((first + second) / 2, ddof=1) / np.sqrt(7)  # seeds differ too
    assert (rank, mark, tied) == (1, 1, 0)
    assert stats.wilcoxon((first + second) / 2 - close).pvalue > 0.05 > 2 * stats.wilcoxon(first - DPS).pvalue
    assert entry(tmp_path, "psld")["values"]["psnr"][2:5] == [2, 2, 1]
    assert entry(tmp_path, "dps")["values"]["psnr"][2:5] == [3, 0, 0]


def test_a_skipped_run_beside_a_done_one_has_its_reason(tmp_path: Path) -> None:
    made(tmp_path, "ldsmc", "phase_retrieval", psnr(LDSMC))
    made(tmp_path, "ddnm", "phase_retrieval", {"a": "it is not linear"}, wanted=7, status="skipped")
    build(tmp_path)
    assert entry(tmp_path, "ldsmc")["skipped"] is None
    assert entry(tmp_path, "ddnm")["skipped"] == "it is not linear"


def test_a_difference_is_that_of_a_paired_t_test(tmp_path: Path) -> None:
    made(tmp_path, "ldsmc", "box", psnr(LDSMC))
    made(tmp_path, "dps", "box", psnr(DPS[:6]))
    made(tmp_path, "dps", "box", psnr(DPS), seed=1)  # another measurement
    made(tmp_path, "dps", "sr4", psnr(DPS))
    build(tmp_path)
    numbers = [[one["method"], one["n"]] for one in index(tmp_path)["entries"]]
    pairs = script(tmp_path, "pairs")
    test = stats.ttest_rel(LDSMC[:6], DPS[:6])
    low, high = test.confidence_interval()
    mean = np.mean(np.subtract(LDSMC[:6], DPS[:6]))
    key = " ".join(map(str, sorted((numbers.index(["ldsmc", 7]), numbers.index(["dps", 6])))))
    assert pairs.keys() == {key}
    sign = 1 if key.startswith(str(numbers.index(["ldsmc", 7]))) else -1
    ends = sorted((sign * low, sign * high))
    assert pairs[key]["psnr"][:3] == pytest.approx([sign * mean, *ends], rel=1e-4)
    assert pairs[key]["psnr"][3:] == [6, 1, *([6, 0] if sign == 1 else [0, 6])]


def test_boards_are_of_rivals_and_unfinished_rows_say_so(tmp_path: Path) -> None:
    made(tmp_path, "ldsmc", "box", psnr(LDSMC), seed=0)
    made(tmp_path, "ldsmc", "box", psnr(LDSMC[:2]), seed=1, wanted=7)
    made(tmp_path, "dps", "box", psnr(DPS[:3]), wanted=7)
    made(tmp_path, "pigdm", "box", {}, wanted=7)
    made(tmp_path, "psld", "box", psnr(DPS))
    made(tmp_path, "dps", "box", psnr(DPS), steps=50)
    build(tmp_path)
    page = index(tmp_path)
    assert len(page["boards"]) == 2 and "100 steps" in page["boards"][0]  # that with most images first
    ldsmc, dps = (next(one for one in page["entries"] if one["method"] == name) for name in ("ldsmc", "dps"))
    assert (ldsmc["counted"], len(ldsmc["runs"]), ldsmc["n"], ldsmc["asked"]) == (1, 2, 7, 7)
    assert ldsmc["values"]["psnr"][5:] == [7, 1] and "seed 1 left out: 2 of 7" in ldsmc["notes"][0]
    assert (dps["n"], dps["asked"]) == (3, 7) and dps["notes"][0] == "3 of 7 images so far, not ranked"
    assert [entry(tmp_path, name)["values"]["psnr"][2] for name in ("ldsmc", "psld")] == [1, 2]
    assert dps["values"]["psnr"][2:5] == [None, 0, 0] and page["images"] == 7
    nothing = entry(tmp_path, "pigdm")
    assert (nothing["n"], nothing["asked"], nothing["values"]) == (0, 7, {})
    assert script(tmp_path, nothing["runs"][0])["ids"] == []  # its drawer can be opened


def test_a_run_knows_its_settings_command_code_and_mirror(tmp_path: Path) -> None:
    run = made(tmp_path, "ldsmc", "box", psnr(LDSMC))
    path = tmp_path / "runs" / run / "config.yaml"
    path.write_text("# commit: abc\n# machine: Linux\n" + path.read_text())
    for number, overrides in enumerate((["method=dps"], ["method=ldsmc", "root=a b", f"results_dir={tmp_path}"])):
        keep(tmp_path / "launches" / str(number), Job(0, overrides, "", run_id=run))
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / f"{run}.url").write_text("https://example.org/run")
    build(tmp_path)
    about = script(tmp_path, run)["about"]
    assert about["command"] == f"python -m ldsmc_bench method=ldsmc 'root=a b' results_dir={tmp_path}"
    assert about["made"] == {"commit": "abc", "machine": "Linux"} and about["wandb"] == "https://example.org/run"
    (tmp_path / "wandb" / f"{run}.url").rename(offline := tmp_path / "wandb" / f"offline-run-1_2-{run}")
    build(tmp_path)
    assert script(tmp_path, run)["about"]["wandb"] == f"wandb sync {offline}"
    assert about["config"]["sample.steps"] == "100" and about["config"]["seed"] == "0"


def test_spread_and_draws_are_layers(tmp_path: Path) -> None:
    ids = toyfaces.ids("test")[:3]
    root = stored(tmp_path, "ldsmc", "box", ids, particles=5)
    for folder in (root / "spread", root / "draws" / "1" / "images", root / "draws" / "1" / "records"):
        folder.mkdir(parents=True)
    Image.fromarray(np.full((64, 64), 20, np.uint8)).save(root / "spread" / f"{ids[1]}.png")
    Image.fromarray(np.full((64, 64, 3), 200, np.uint8)).save(root / "draws" / "1" / "images" / f"{ids[0]}.png")
    build(tmp_path)
    build(tmp_path)  # finds what it needs no longer, and must keep these
    layers = script(tmp_path, root.name)["layers"]
    assert {name: layer["ids"] for name, layer in layers.items()} == {
        "error": list(ids),
        "spread": [ids[1]],
        "draw 1": [ids[0]],
    }
    assert small(tmp_path, layers["spread"], ids[1]).mean() == pytest.approx(80, abs=3)  # four times
    assert small(tmp_path, layers["draw 1"], ids[0]).mean() == pytest.approx(200, abs=3)


def test_pictures_that_were_not_published_are_told_once_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = toyfaces.ids("test")[:3]
    root = stored(tmp_path, "ldsmc", "box", ids)
    (root / "merged.jsonl").touch()
    for image_id in ids[:2]:
        for path in (*root.glob(f"images/{image_id}.png"), *tmp_path.glob(f"problems/*/*/{image_id}.png")):
            path.unlink()
    build(tmp_path)
    assert capsys.readouterr().err == f"{root.name}: pictures of 1 of 3 images were published\n"
    content = script(tmp_path, root.name)
    problem = next(one["key"] for one in index(tmp_path)["problems"])
    places = content["pictures"], content["layers"]["error"], script(tmp_path, problem)["truth"]
    assert [place["ids"] for place in places] == [[ids[2]]] * 3 and content["ids"] == list(ids)


def test_up_to_eight_methods_differ_in_colour_and_all_in_colour_or_marks() -> None:
    names = list(NAMES["method"])
    assert len({style(names.index(name))["colour"] for name in names[::8]}) == 1  # by themselves
    for shown in (names[:8], names[::8], ["ldsmc", "dps", "pigdm", "ddrm", "ddsmc", "mine"]):
        assert len({look["colour"] for look in method_styles(shown).values()}) == len(shown)
    every = method_styles([*names, "mine", "yours"]).values()
    assert len({(look["colour"], look["marker"]) for look in every}) == len(names) + 2
    assert method_styles(["ldsmc"]) == {"ldsmc": method_styles(names)["ldsmc"]}


def test_exactness_has_a_section_where_its_command_has_written(tmp_path: Path) -> None:
    made(tmp_path, "ldsmc", "box", psnr(LDSMC))
    page = build(tmp_path)
    assert 'id="exactness"' not in page.read_text()
    (tmp_path / "tables").mkdir()
    line = {
        "world": "lattice",
        "calls": 100,
        "method": "DDSMC",
        "exact_for": "chain",
        "particles": 5,
        "sw1_ratio": 1.29,
    }
    line |= {"low": 0.8, "high": 3.8, "like_best": 1, "n": 6}
    text = "\n".join([",".join(line), ",".join(map(str, line.values()))])
    (tmp_path / "tables" / "leaderboard-medians.csv").write_text(text)
    assert 'id="exactness"' in build(tmp_path).read_text()
    assert index(tmp_path)["exactness"] == [json.loads(json.dumps(line))]
