"""The power of paired comparisons, in the captions of tables and as a command, against numbers computed by hand.

Differences of 1 and -1 in turns have a standard deviation of sqrt(8/7) = 1.069 on 8 images. These detect a difference
of (1.960 + 0.842) 1.069 / sqrt(8) = 1.059; one of 0.5 takes (2.802 x 1.069 / 0.5)^2 = 35.9 images.
Half the 95 % interval of their mean is 2.365 x 1.069 / sqrt(8) = 0.894.
"""

import json
from pathlib import Path

import pytest

from ldsmc_bench.calibration.judge import VERSION
from ldsmc_bench.commands import power
from ldsmc_bench.report.tables import typeset
from ldsmc_bench.report.tables.caption import details
from tests.report.made import made, psnr
from tests.report.stored import TASKS, stored
from tests.report.test_tables import SMALL, table_of

BASE = [20.0, 24.0, 22.0, 27.0, 21.0, 25.0, 23.0, 26.0]
OTHER = [value + (-1) ** i - 0.25 for i, value in enumerate(BASE)]
HOW = "80 % power in one comparison at level 0.05"


def sentences(results: Path, text: str = SMALL) -> list[str]:
    return [sentence for sentence in details(table_of(results, text)) if " detect " in sentence]


def printed(results: Path, capsys: pytest.CaptureFixture[str], *options: str) -> list[list[str]]:
    """The cells of the rows that the command prints."""
    assert power.main([f"results_dir={results}", *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines[2:-1]]


@pytest.fixture
def two(tmp_path: Path) -> Path:
    made(tmp_path, "ldsmc", "box", psnr(BASE, ssim=0.5))
    made(tmp_path, "psld", "box", psnr(OTHER, ssim=0.5))
    return tmp_path


def test_a_caption_says_what_its_images_detect(two: Path) -> None:
    table = table_of(two)
    assert sentences(two) == [f"8 images detect a difference from the best of 1.06 dB in PSNR ({HOW})."]
    assert "1.06 dB in PSNR (80 % power" in typeset.markdown(table)
    assert r"1.06 dB in PSNR (80 \% power" in typeset.latex_notes(table)


def test_a_caption_spans_the_comparisons_of_its_first_metric_of_images(two: Path) -> None:
    worse = psnr([value - 2 - 2 * (i % 2) for i, value in enumerate(BASE[:6])])
    made(two, "dps", "box", {**worse, "g": "no memory", "h": "no memory"})
    text = SMALL.replace("[psnr]", "[{name: cost.seconds, label: s, digits: 2, better: lower}, fid_clean, psnr, ssim]")
    # differences of -2 and -4 in turns: 2.802 sqrt(6/5) / sqrt(6) = 1.253
    assert sentences(two, text) == [
        f"6 to 8 images detect a difference from the best of 1.06 to 1.25 dB in PSNR ({HOW})."
    ]
    converted = SMALL.replace("[psnr]", "[{name: psnr, label: error, better: lower, times: 0.1, digits: 3}]")
    assert "in error (" in sentences(two, converted)[0] and "dB" not in sentences(two, converted)[0]


def test_a_caption_is_silent_without_a_pair(tmp_path: Path) -> None:
    made(tmp_path, "ldsmc", "box", psnr(BASE))
    made(tmp_path, "psld", "sr8", psnr(OTHER))
    assert sentences(tmp_path) == []
    assert sentences(tmp_path, SMALL.replace("[psnr]", "[{name: psnr, better: none}]")) == []


def test_a_signed_rank_test_of_five_images_detects_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its smallest p is 2 / 2^5, above the level."""
    made(tmp_path, "ldsmc", "box", psnr(BASE[:5]))
    made(tmp_path, "psld", "box", psnr(OTHER[:5]))
    assert sentences(tmp_path) == ["Fewer than 6 images detect no difference."]
    # the variance of 1, -1, 1, -1, 1 is 1.2; a difference of 9 would take a single image
    names = ["box inpainting", "toyfaces", "LD-SMC", "PSLD"]
    why = "--: too few images in common: to detect a difference takes 6, an sd 2"
    assert printed(tmp_path, capsys, "difference=9") == [[*names, "5", "0.05 ± 1.36", "0.62", "1.10", "--", "6"], [why]]


def test_the_command_says_how_many_images_a_difference_takes(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = ["box inpainting", "toyfaces", "LD-SMC", "PSLD", "8"]
    psnrs = [*start, "0.25 ± 0.89", "0.28", "1.07", "1.06"]
    assert printed(two, capsys) == [psnrs]
    assert printed(two, capsys, "metric=psnr", "difference=0.5") == [[*psnrs, "36"]]
    alike = [*start, "0.000 ± 0.000", "1", "0.000", "0.000", "6"]
    assert printed(two, capsys, "metric=ssim", "difference=0.01") == [alike]


def test_scores_of_several_draws_have_their_own_power(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert power.main([f"results_dir={two}", "metric=crps"]) == 2
    assert (
        "metric=crps: no run has scores of its draws; python -m ldsmc_bench calibration makes"
        in capsys.readouterr().err
    )
    for method, values in (("ldsmc", BASE), ("psld", OTHER)):
        (run,) = (path for path in (two / "runs").iterdir() if path.name.startswith(method))
        scores = {"psnr_mean": 0.0, "spread": 0.0, "variance_sum": 0.0, "error_sum": 0.0, "histogram": [0, 1, 0]}
        kept = {
            image: {"of": [VERSION, 2, None], "scores": {**scores, "crps": crps}, "tarp": None, "ranks": {}}
            for image, crps in zip(psnr(BASE), values, strict=True)
        }
        (run / "draws.json").write_text(json.dumps(kept))
        request = json.loads((run / "requested.json").read_text())
        (run / "requested.json").write_text(json.dumps({**request, "images": [8, 8]}))
    names = ["box inpainting", "toyfaces", "LD-SMC", "PSLD"]
    assert printed(two, capsys, "metric=crps", "difference=0.5") == [
        [*names, "8", "0.2500 ± 0.8937", "0.28", "1.0690", "1.0589", "36"]
    ]


def test_methods_are_paired_on_one_problem_in_the_seeds_that_both_have(
    two: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(two, "ldsmc", "box", psnr([value - 7 for value in BASE]), seed=1)
    made(two, "psld", "box", psnr([value + 3 * (-1) ** i for i, value in enumerate(BASE)]), seed=1)
    made(two, "psld", "box", psnr([0.0] * 8), seed=2)
    made(two, "psld", "box", psnr(OTHER[:6]), particles=5)
    made(two, "psld", "sr8", psnr(OTHER))
    found = {(one, other): numbers for _, _, one, other, *numbers in printed(two, capsys)}
    assert found == {
        # means of 0.25 and -7, with differences of 2 and -2 in turns, over seeds 0 and 1
        ("LD-SMC", "PSLD N=1"): ["8", "-3.38 ± 1.79", "0.0078", "2.14", "2.12"],
        ("LD-SMC", "PSLD N=5"): ["6", "0.25 ± 1.15", "0.34", "1.10", "1.25"],  # in seed 0 alone
        ("PSLD N=1", "PSLD N=5"): ["6", "0.00 ± 0.00", "1", "0.00", "0.00"],
    }


def test_each_run_may_be_compared_with_the_nearest_of_some(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Labels (s above 0) against none at the same steps; rho, which no run without labels reads, differs."""
    for steps, gain in ((25, 1.0), (50, 3.0)):
        made(tmp_path, "ldsmc", "box", psnr(BASE), steps=steps, s=0.0, rho=0.75)
        for s in (0.3, 0.6):
            made(tmp_path, "ldsmc", "box", psnr([value + gain + s for value in BASE]), steps=steps, s=s, rho=0.25)
    rows = printed(tmp_path, capsys, "against=sample.s=0")
    found = {(one, other): difference for _, _, one, other, _, difference, *_ in rows}
    assert found == {
        (f"LD-SMC steps={steps} rho=0.25 s={s:g}", f"LD-SMC steps={steps} rho=0.75 s=0"): f"{gain + s:.2f} ± 0.00"
        for steps, gain in ((25, 1.0), (50, 3.0))
        for s in (0.3, 0.6)
    }
    rows = printed(tmp_path, capsys, "against=sample.s=0", "where=steps=50", "where=sample.s=0,0.6")
    assert [row[2:6] for row in rows] == [["LD-SMC rho=0.25", "LD-SMC rho=0.75", "8", "3.60 ± 0.00"]]


def test_problems_of_one_name_are_distinguished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for noise_std in (0.1, 0.5):
        for method in ("dps", "psld"):
            parts = {"task": TASKS["box"] | {"noise_std": noise_std}}
            stored(tmp_path, method, "box", [f"test-{i:06}" for i in range(6)], pictures=False, parts=parts)
    assert [row[0] for row in printed(tmp_path, capsys)] == [f"box inpainting noise_std={std}" for std in (0.1, 0.5)]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["metric=pnsr"], "metric=pnsr: no run has such a metric of an image; did you mean psnr?"),
        (["metric=fid_clean"], "metric=fid_clean: no run has such a metric of an image; there are: psnr, ssim"),
        (["difference=0"], "difference=0: must be above 0"),
        (["difference=x"], "argument --difference: invalid float value: 'x'"),
        (["where=steps"], "where=steps: must be where=KEY=VALUE"),
        (["where=step=100"], "step=100: no run has such a key; did you mean steps?"),
        (["against=method=dsp"], "where=method=dsp: no run has this; there are: ldsmc, psld"),
    ],
)
def test_a_mistake_is_one_line(two: Path, options: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert power.main([f"results_dir={two}", *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {line}") and error.count("\n") == 1


def test_a_lone_method_has_no_pair(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path, "ldsmc", "box", psnr(BASE))
    assert power.main([f"results_dir={tmp_path}"]) == 2
    assert "metric=psnr: no two methods have it of the same images" in capsys.readouterr().err
