import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ldsmc_bench.report.table import table, with_error

GOLDEN = Path(__file__).with_name("golden_table.txt")


def summary(particles: int, *, method: str = "ldsmc", **changes: Any) -> dict[str, Any]:
    def mean(value: float, se: float | None = 0.0) -> dict[str, Any]:
        return {"mean": value, "se": se, "n": 16}

    calls = {"denoiser_forward": 100, "denoiser_backward": 100, "decoder_forward": 201, "decoder_backward": 180}
    sets = {
        "toyfaces_fid": 12.3456 / particles, "toyfaces_fid_se": 1.0987,
        "toyfaces_kid": 0.01236, "toyfaces_kid_se": 0.00127, "n": 16, "warning": "16 images are few",
    }  # fmt: skip
    return {
        "run_id": f"{method}{particles}", "method": method, "task": "freeform", "dataset": "toyfaces", "steps": 100,
        "particles": particles, "seed": 0, "n": 16, "n_failed": 0, "n_skipped": 0, "sets": sets,
        "metrics": {
            "psnr": mean(24.1274 + particles / 10, 0.2114), "ssim": mean(0.8126, 0.0102),
            "toyfaces_perceptual": mean(0.06731, 0.00549), "misfit": mean(1.034, 0.0049),
        },
        "cost": {
            "seconds": mean(1.234 * particles, 0.071), **{name: mean(n * particles) for name, n in calls.items()},
            "encoder_forward": mean(1), "encoder_backward": mean(0),
        },
    } | changes  # fmt: skip


def test_golden_table() -> None:
    runs = [summary(1), summary(5), summary(10, n=15, n_failed=1)]
    assert table(runs) == GOLDEN.read_text(encoding="utf-8")


def test_what_varies_comes_first_and_what_is_shared_stands_above() -> None:
    lines = table([summary(1), summary(1, method="psld")]).splitlines()
    assert lines[0] == "task=freeform dataset=toyfaces steps=100 particles=1 seed=0"
    assert lines[1].split()[:2] == ["method", "PSNR"]
    assert [line.split()[0] for line in lines[3:5]] == ["LD-SMC", "PSLD"]


def test_the_papers_metrics_stand_where_they_were_computed_and_the_reference_is_named() -> None:
    def value(mean: float) -> dict[str, Any]:
        return {"mean": mean, "se": 0.01, "n": 16}

    scores = {
        "psnr": value(25.0),
        "ssim": value(0.8),
        "lpips_vgg": value(0.262),
        "niqe": value(6.2),
        "misfit": value(1.0),
    }
    sets = {"fid_clean": 61.234, "fid_clean_se": 2.0, "kid_clean": 0.0123, "kid_clean_se": 0.001, "n": 16}
    papers = summary(1, metrics=scores, sets=sets | {"reference": "the run's truths", "warning": None})
    text = table([papers], width=1000)
    assert cells(text.splitlines()[1])[:7] == ["PSNR", "SSIM", "LPIPS (VGG)", "NIQE", "FID", "KID", "misfit"]
    assert "0.262 ± 0.010  6.20 ± 0.01  61.23 ± 2.00  0.0123 ± 0.0010" in text
    assert "(FID, KID: bootstrap)" in text and "against the run's truths" in text and "*" not in text
    both = table([papers, summary(1)], width=1000)
    assert cells(both.splitlines()[1])[3:10] == ["LPIPS (VGG)", "NIQE", "perceptual*", "FID", "KID", "FID*", "KID*"]
    assert "* toyfaces feature network" in both and "against the run's truths" in both


def test_runs_of_other_settings_are_told_apart_by_their_id() -> None:
    lines = table([summary(1, run_id="a"), summary(1, run_id="b"), summary(5, run_id="c")]).splitlines()
    assert [line.split()[:2] for line in lines[1:2] + lines[3:6]] == [
        ["particles", "run_id"], ["1", "a"], ["1", "b"], ["5", "c"],
    ]  # fmt: skip


def test_a_run_where_everything_failed_keeps_its_row() -> None:
    nothing = summary(5, metrics={}, cost={}, sets={"n": 0, "warning": None}, n=0, n_failed=16)
    row = table([summary(1), nothing], width=1000).splitlines()[4]
    assert cells(row) == ["5", *["--"] * 7, *["--/--"] * 3, "0 (16 failed)"]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_narrow_terminal_gets_blocks_with_the_names_repeated(width: int) -> None:
    runs = [summary(1), summary(5)]
    [whole], parts = blocks(table(runs, width=1000)), blocks(table(runs, width=width))
    assert len(parts) > 1 and max(len(line) for part in parts for line in part) <= width
    for row in (0, 2, 3):  # headings and both runs; 1 is the rule
        names = {cells(part[row])[0] for part in parts}
        assert [*names, *(cell for part in parts for cell in cells(part[row])[1:])] == cells(whole[row])


def blocks(text: str) -> list[list[str]]:
    """The lines of each block between the first line and the footnote."""
    body = text.partition("\n")[2].partition("\nmean ±")[0]
    return [block.splitlines() for block in body.split("\n\n")]


def cells(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


def test_runs_of_one_task_with_other_measurements_are_no_rivals() -> None:
    """As in a sweep of its noise: a line for each problem, whose id the caller knows."""
    runs = [summary(n, method=m, problem=f"box-{n}", asked=f"{m} {n}") for n in (1, 5) for m in ("dps", "psld")]
    images = {run["run_id"]: pd.DataFrame({"psnr": [20.0 + i, 21.0 + i]}) for i, run in enumerate(runs)}
    assert table(runs, images=images).count(": nothing is distinguishable from the best") == 2


def test_calls_that_vary_between_images_show_how_much() -> None:
    varied = summary(1)
    varied["cost"]["decoder_forward"] = {"mean": 812.4, "se": 13.2, "n": 16}
    assert "812 ± 13/180" in table([varied])


def test_runs_on_one_problem_are_compared_by_paired_tests() -> None:
    """Eight images: 0.1 worse on each is distinguishable, a difference of either sign is not; other tasks are apart."""
    base = pd.Series([20.0, 24.0, 22.0, 27.0, 21.0, 25.0, 23.0, 26.0])
    signs = pd.Series([1.0, -1.0] * 4)
    values = {"dps": base, "psld": base - 0.1, "pfld": base - 0.05 + signs}
    runs = [summary(1, method=method, run_id=method) for method in values]
    runs += [summary(5, task="sr8", run_id="alone")]
    images = {method: pd.DataFrame({"psnr": psnr}) for method, psnr in values.items()}
    images["alone"] = pd.DataFrame({"psnr": base + 9, "diagnostics.ess": [1.0, 1.5] * 4})
    for run in runs:
        run["metrics"] = {"psnr": {"mean": float(images[run["run_id"]].psnr.mean()), "se": 0.1, "n": 8}}
    text = table(runs, width=1000, images=images)
    marks = [line[:-1] for line in re.findall(r"\d ± 0.10 . ", text)]
    assert [mark[-1] for mark in marks] == ["●", " ", "†", " "]
    assert re.findall(r"\S+ of 5", text) == ["1.2 of 5"]
    what = "DPS N=1 best in PSNR; not distinguishable from it: PFLD N=1; worse: PSLD N=1"
    assert text.endswith(f"free-form inpainting, 8 images: {what}\n")


def test_seeds_with_one_finding_share_its_sentence() -> None:
    base = pd.Series([20.0, 24.0, 22.0, 27.0, 21.0, 25.0, 23.0, 26.0])
    runs, images = [], {}
    for seed, gap in enumerate((0.1, 0.2, -0.1)):
        for method, psnr in {"dps": base, "psld": base - gap}.items():
            runs.append(summary(1, method=method, seed=seed, run_id=f"{method}{seed}"))
            images[f"{method}{seed}"] = pd.DataFrame({"psnr": psnr})
    *_, first, second = table(runs, width=1000, images=images).splitlines()
    best, worse = "best in PSNR; not distinguishable from it: none", "; worse:"
    assert first == f"free-form inpainting, 8 images, seed 0, 1: DPS {best}{worse} PSLD"
    assert second == f"free-form inpainting, 8 images, seed 2: PSLD {best}{worse} DPS"


def test_a_sentence_names_the_key_of_a_number() -> None:
    runs = [summary(1, steps=4, run_id="a"), summary(5, steps=6, run_id="b")]
    images = {run["run_id"]: pd.DataFrame({"psnr": [20.0 + i, 21.0 + i]}) for i, run in enumerate(runs)}
    assert "the best in PSNR, steps=6 N=5 (" in table(runs, images=images)


def test_a_sentence_claims_nothing_that_no_test_shows() -> None:
    runs = [summary(1), summary(5)]
    images = {run["run_id"]: pd.DataFrame({"psnr": [20.0 + i, 21.0 + i]}) for i, run in enumerate(runs)}
    text = table(runs, images=images)
    why = "(no test can with fewer than 6)"
    assert text.endswith(f"2 images: nothing is distinguishable from the best in PSNR, N=5 {why}\n")
    assert "●" not in table(runs) and "●" not in table(runs[:1], images=images)


def test_numbers() -> None:
    assert with_error(24.127, 0.2149, 2) == "24.13 ± 0.21"
    assert with_error(24.127, None, 1) == "24.1"
    assert with_error(24.127, 0.0049, 2) == "24.13 ± <0.01" and with_error(24.127, 0.0051, 2) == "24.13 ± 0.01"
    assert with_error(24.127, 0.0, 2) == with_error(24.127, 1e-15, 2) == "24.13"
    assert with_error(812.4, 0.4, 0) == "812" and with_error(812.4, 13.2, 0) == "812 ± 13"  # calls
    assert with_error(None, None, 2) == "--"
    with pytest.raises(ValueError, match="at least one"):
        table([])
