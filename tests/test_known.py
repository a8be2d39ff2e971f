"""Runs on problems whose posterior is known, from the command line to the figure."""

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file

from ldsmc_bench.errors import Unsupported
from ldsmc_bench.mixture import repeat
from ldsmc_bench.mixture.prior import MixturePrior
from ldsmc_bench.mixture.repeat import BLOCK
from ldsmc_bench.problem.draws import Draw
from ldsmc_bench.problem.problem import Batch
from ldsmc_bench.records.store import Store
from ldsmc_bench.report.figures import exactness
from tests.commands import files, images, records, runs, tiny

MIXTURE = ("dataset=mixture", "draws=60", "steps=4")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LD-SMC's exact variant with one and ten particles, on two problems."""
    folder = tmp_path_factory.mktemp("mixture")
    done = tiny(folder, *MIXTURE, "variant=exact", "-m", "particles=1,10")
    assert done.code == 0, done.err
    assert "SW1/floor" in done.out and "evidence gap" in done.out and "sheet: " in done.out and "PSNR" not in done.out
    return folder


def drawn(run: Path, problem: str) -> NDArray[np.float32]:
    blocks = sorted((run / "draws" / problem).iterdir(), key=lambda path: int(path.stem))
    return np.concatenate([load_file(path)["draws"] for path in blocks])


def test_a_problem_has_its_scores_its_draws_and_a_picture(folder: Path) -> None:
    for run in runs(folder):
        kept = records(run)
        assert set(kept) == set(images(run)) == {"problem-0000", "problem-0001"}
        for problem, record in kept.items():
            assert {"sw1", "sw1_floor", "sw1_ratio", "max_sw1", "log_evidence_gap", "sd_log_evidence"} <= set(
                record["metrics"]
            )
            assert len(record["diagnostics"]["ess"]) == 4
            assert record["cost"]["denoiser_forward"] == 4 * record["particles"]  # of one run
            assert drawn(run, problem).shape == (100, 8)  # two blocks, of which 60 draws are asked for
            assert Image.open(run / "images" / f"{problem}.png").size == (160, 160)


def test_what_is_finished_is_left_alone_and_batches_change_nothing(folder: Path, tmp_path: Path) -> None:
    (_, ten) = runs(folder)
    before = files(ten)
    again = tiny(folder, *MIXTURE, "variant=exact", "particles=10")
    assert again.code == 0 and files(ten) == before
    alone = tiny(tmp_path, *MIXTURE, "variant=exact", "particles=10", "batch_size=1")
    assert alone.code == 0
    (other,) = runs(tmp_path)
    assert other.name == ten.name
    for problem in ("problem-0000", "problem-0001"):
        here, there = (drawn(run, problem) for run in (ten, other))
        assert np.allclose(here, there, atol=1e-3)
        assert len(np.unique(here[:, 0])) > BLOCK  # blocks draw apart


def test_the_figure_of_the_store(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "exactness.png"
    assert exactness.main(["--results-dir", str(folder / "results"), "--out", str(out)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "N=" in line]
    assert [line.split()[:3] for line in lines] == [["LD-SMC,", "exact", "N=1"], ["LD-SMC,", "exact", "N=10"]]
    assert all("sw1_ratio" in line and "log_evidence_gap" in line for line in lines)
    assert Image.open(out).size[0] > 1000


def test_without_such_runs_there_is_no_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exactness.main(["--results-dir", str(tmp_path), "--out", str(tmp_path / "a.png")]) == 2
    assert "whose posterior is known; make exactness" in capsys.readouterr().err


def test_another_task_is_refused_in_a_line(tmp_path: Path) -> None:
    done = tiny(tmp_path, "dataset=mixture", "task=box")
    assert done.code != 0
    assert done.errors == [
        "error: task=box: dataset=mixture is measured by task=linear or phase or clip or quantise alone"
    ]


def test_problems_that_a_method_cannot_do_are_not_lost_by_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*arguments: Any) -> None:
        raise Unsupported("no")

    kept, progress = Mock(), Mock()
    monkeypatch.setattr(repeat, "draw_blocks", unable)
    monkeypatch.setattr(repeat, "record_failures", kept)
    settings: Any = Mock(
        draws=1,
        shard=0,
        shards=1,
        targets=["baselines.dps.sample"],
        config={"mix_code": True, "task": {"noise": "gaussian"}},
    )
    settings.labels.particles = 1
    posed = Batch((Draw("a"), Draw("b")), torch.empty(0, 8), Mock(), {}, [0, 1])
    run = Mock(settings=settings, problems=None, store=Store(tmp_path, "run"))
    repeat.draw_and_judge(Mock(run=run, prior=Mock(spec=MixturePrior), progress=progress), posed)
    assert kept.call_args.args[-1] == {Draw("a"): "no", Draw("b"): "no"}
    progress.kept.assert_called_once_with(2)
