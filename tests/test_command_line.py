"""The command that the README opens with, as a newcomer gives it, and what it leaves behind."""

import io
import json
import math
import os
import re
import resource
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ldsmc_bench.commands.run import flags_first
from ldsmc_bench.toyfaces.dataset import toyfaces
from tests.commands import LIGHT, Done, every_choice, here, images, records, runs, start, tiny
from tests.tracking.test_wandb import history_of, records_of

LITERAL = ("method=ldsmc", "task=freeform", "-m", "particles=1,5,10")
RECORD = {
    "code",
    "truth",
    *("run_id", "image_id", "draw", "method", "variant", "task", "dataset", "seed", "steps", "particles"),
    *("status", "metrics", "cost", "diagnostics"),
}
CALLS = {f"{network}_{way}" for network in ("denoiser", "decoder", "encoder") for way in ("forward", "backward")}
NO_NETWORK = """
import os, socket

def refused(connect):
    def guarded(self, address, *rest):
        host = address[0] if isinstance(address, tuple) else "localhost"
        if host not in ("localhost", "127.0.0.1", "::1"):
            open(os.environ["ATTEMPTS"], "a").write(f"{address}\\n")
            raise OSError(f"no network in this test: {address}")
        return connect(self, address, *rest)
    return guarded

def unresolved(host, *rest, **options):
    open(os.environ["ATTEMPTS"], "a").write(f"{host}\\n")
    raise OSError(f"no network in this test: {host}")

socket.socket.connect = refused(socket.socket.connect)
socket.socket.connect_ex = refused(socket.socket.connect_ex)
socket.getaddrinfo = unresolved
"""


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A fresh Python in `folder`, without network; an attempt to use it is noted in `folder/attempts`."""
    (folder / "sitecustomize.py").write_text(NO_NETWORK)
    proxy = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    here = {
        "PYTHONPATH": f"{folder}{os.pathsep}{Path(__file__).parents[1]}",
        "ATTEMPTS": str(folder / "attempts"),
        "CUDA_VISIBLE_DEVICES": "",
    }
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **proxy, **here}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("literal")


@pytest.fixture(scope="module")
def literal(folder: Path) -> Done:
    """The literal command, made small by what follows it."""
    done = python(folder, "-m", "ldsmc_bench", *LITERAL, "steps=2", "n_images=2", f"results_dir={folder / 'results'}")
    return Done(done.returncode, done.stdout, done.stderr)


def test_the_literal_command_succeeds_without_network(literal: Done, folder: Path) -> None:
    assert (literal.code, literal.errors) == (0, [])
    assert not (folder / "attempts").exists(), (folder / "attempts").read_text()


def test_the_network_is_indeed_refused(tmp_path: Path) -> None:
    done = python(tmp_path, "-c", "import urllib.request; urllib.request.urlopen('http://192.0.2.1')")
    assert done.returncode != 0
    assert python(tmp_path, "-c", "import socket; socket.socket().connect(('192.0.2.1', 80))").returncode != 0
    assert len((tmp_path / "attempts").read_text().splitlines()) >= 1


def test_the_table_has_a_row_for_each_particle_count(literal: Done) -> None:
    lines = literal.out.splitlines()
    assert "method=ldsmc task=freeform dataset=toyfaces steps=2 seed=0 variant=default" in lines
    (headings,) = [line.split() for line in lines if "PSNR" in line.split()]
    assert headings[0] == "particles"
    assert {"PSNR", "SSIM", "perceptual*", "s/image", "denoiser", "decoder", "encoder"} <= set(headings)
    rows = [line.split() for line in lines if re.match(r" *\d+ ", line)]
    assert [row[0] for row in rows] == ["1", "5", "10"]
    assert all("±" in row for row in rows)


def test_the_sheet_shows_truth_measurement_and_a_column_for_each_particle_count(literal: Done, folder: Path) -> None:
    (path,) = re.findall(r"^sheet: (.+)$", literal.out, re.MULTILINE)
    with Image.open(folder / path) as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(float)
    # the first picture of the truth's column and of the three restorations, enlarged by whole pixels, are in the sheet
    restored = [np.asarray(Image.open(io.BytesIO(images(run)["test-000000"]))) for run in runs(folder)]
    truth = (np.asarray(toyfaces().load("test-000000").permute(1, 2, 0)) + 1) * 127.5
    lefts = [column_of(pixels, picture.astype(float)) for picture in (truth.round(), *restored)]
    assert lefts == sorted(set(lefts))
    widths = [right - left for left, right in pairwise(lefts)]
    assert widths == [2 * widths[1], widths[1], widths[1]]  # the measurement stands behind the truth


def column_of(sheet: np.ndarray, picture: np.ndarray) -> int:
    """The left edge of the column whose first picture is `picture`, three times enlarged."""
    large = picture.repeat(3, axis=0).repeat(3, axis=1)
    height, width = large.shape[:2]
    for top in range(12, 60):
        for left in range(sheet.shape[1] - width + 1):
            if np.array_equal(sheet[top, left : left + width], large[0]) and np.array_equal(
                sheet[top : top + height, left : left + width], large
            ):
                return left
    raise AssertionError("this picture is not in the first row of the sheet")


def test_the_files_are_those_of_the_contract(literal: Done, folder: Path) -> None:
    assert [json.loads((run / "summary.json").read_text())["particles"] for run in runs(folder)] == [1, 5, 10]
    for run, particles in zip(runs(folder), (1, 5, 10), strict=True):
        spread = [f"spread/test-00000{i}.png" for i in range(2)] if particles > 1 else []
        assert {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()} == {
            "config.yaml",
            "requested.json",
            "summary.json",
            *(f"records/test-00000{i}.json" for i in range(2)),
            *(f"images/test-00000{i}.png" for i in range(2)),
            *spread,
        }


def test_records_hold_what_the_contract_promises(literal: Done, folder: Path) -> None:
    for run, particles in zip(runs(folder), (1, 5, 10), strict=True):
        for image_id, record in records(run).items():
            assert record.keys() == RECORD
            assert (record["run_id"], record["image_id"]) == (run.name, image_id)
            assert (record["method"], record["task"], record["dataset"]) == ("ldsmc", "freeform", "toyfaces")
            assert (record["seed"], record["steps"], record["particles"]) == (0, 2, particles)
            assert record["status"] == "ok"
            assert record["metrics"].keys() >= {"psnr", "ssim", "toyfaces_perceptual", "misfit"}
            assert record["cost"].keys() >= {"seconds"} | CALLS
            # a call for each step and particle, and one more for each of the few that live on
            again = record["cost"]["denoiser_forward"] - 2 * particles
            assert 0 <= again <= 2 * (particles // 2)
            assert record["cost"]["denoiser_backward"] in (2 * particles, particles + again, again)
            assert record["diagnostics"].keys() == ({"ess", "resampled", "entropy"} if particles > 1 else set())
            assert all(len(values) == 2 for values in record["diagnostics"].values())
            assert all(1 <= ess <= particles + 1e-9 for ess in record["diagnostics"].get("ess", []))


def test_metrics_are_those_of_the_saved_pictures(literal: Done, folder: Path) -> None:
    for run in runs(folder):
        for image_id, png in images(run).items():
            picture = np.asarray(Image.open(io.BytesIO(png)), dtype=float)
            truth = np.asarray((toyfaces().load(image_id).permute(1, 2, 0) + 1) * 127.5).round()
            psnr = 10 * math.log10(255**2 / float(np.mean((picture - truth) ** 2)))
            assert picture.shape == (64, 64, 3)
            assert records(run)[image_id]["metrics"]["psnr"] == pytest.approx(psnr, rel=1e-9)


def test_the_summary_is_the_mean_over_the_records(literal: Done, folder: Path) -> None:
    for run in runs(folder):
        summary = json.loads((run / "summary.json").read_text())
        values = [record["metrics"]["ssim"] for record in records(run).values()]
        assert summary["metrics"]["ssim"]["mean"] == pytest.approx(np.mean(values))
        assert summary["metrics"]["ssim"]["se"] == pytest.approx(np.std(values, ddof=1) / math.sqrt(2))
        assert (summary["n"], summary["n_failed"]) == (2, 0)


def test_every_run_has_its_mirror_in_an_offline_folder_of_wandb(literal: Done, folder: Path) -> None:
    """The last one of the sweep included, whose follower the command waits for."""
    mirrors = {path.name.split("-", 3)[3]: path for path in (folder / "results" / "wandb").glob("offline-run-*")}
    assert mirrors.keys() == {run.name for run in runs(folder)}
    last = runs(folder)[-1]
    first_image, *rest = history_of(records_of(mirrors[last.name]))
    record = records(last)["test-000000"]
    assert first_image["image/psnr"] == record["metrics"]["psnr"]
    columns = "truth | measurement | reconstruction | particles' spread x4"
    assert first_image["panel/00.caption"] == f"test-000000: {columns} (ldsmc N=10)"
    entropies = [item["smc/entropy"] for item in rest if "smc/entropy" in item]
    means = np.mean([record["diagnostics"]["entropy"] for record in records(last).values()], axis=0)
    assert entropies == pytest.approx(means.tolist())


def test_no_path_or_machine_is_part_of_a_runs_identity(literal: Done, folder: Path) -> None:
    for run in runs(folder):
        said = [line for line in (run / "config.yaml").read_text().splitlines() if not line.startswith("#")]
        assert not [line for line in said if str(folder) in line or "device" in line or "batch_size" in line]


def test_the_status_command_tells_the_same(literal: Done, folder: Path) -> None:
    done = start(folder, "--json", module="ldsmc_bench.status").done()
    rows = json.loads(done.out)
    assert sorted((row["particles"], row["done"], row["missing"], row["failed"]) for row in rows) == [
        (particles, 2, 0, 0) for particles in (1, 5, 10)
    ]
    assert all(row["complete"] for row in rows)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("a=1 -m b=1,2", "-m a=1 b=1,2"),
        ("a=1 --config-dir D b=2 -cn c d=3", "--config-dir D -cn c a=1 b=2 d=3"),
        ("a=1 --cfg job b=2 --resolve --package task c=3", "--cfg job --resolve --package task a=1 b=2 c=3"),
        ("~a --info b=1", "--info=all ~a b=1"),
        ("--info defaults-tree b=1", "--info defaults-tree b=1"),
        ("a=1 -i", "--info=all a=1"),
        ("a=-m", "a=-m"),
        ("a=1 -cd a=1 b=2", "-cd a=1 a=1 b=2"),
        ("a=1 hydra/launcher=slurm", "-m a=1 hydra/launcher=slurm"),
        ("hydra/launcher=slurm --cfg job", "--cfg job hydra/launcher=slurm"),
    ],
)
def test_flags_may_stand_anywhere(given: str, taken: str) -> None:
    assert flags_first(given.split()) == taken.split()


def test_the_results_folder_may_be_an_option_as_for_other_commands(capsys: pytest.CaptureFixture[str]) -> None:
    here("--cfg", "job", "--results-dir", "found", "seed=1")
    assert "\nresults_dir: found\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("-m seed=range(2) --cfg job", "--cfg shows one run: leave out -m"),
        ("a=1 --foo b=2", "--foo: no such flag; "),
        ("--cfg", "argument --cfg/-c: expected one argument; "),
        ("--experimental-rerun nofile", "--experimental-rerun nofile: no such file"),
        ("--resolve", "The --resolve flag can only be used"),
        ("-cn nope", "Cannot find primary config 'nope'."),
        ("--config-dir nowhere", "Additional config directory "),
        ("hydra.verbose=3", "hydra.verbose=3: "),
        ("hydra.mode=x", "hydra.mode=x: Invalid value 'x', expected one of"),
        ("hydra.job.foo=1", "hydra.job.foo: no such key; if it is to be new, write +hydra.job.foo="),
        ("-m task=glob(z*)", "task=glob(z*): no value is meant by this, so nothing would run; there are: box, "),
        ("-m seed=range(3,3)", "seed=range(3,3): no value is meant by this, so nothing would run"),
        ("task=[box,sr4]", "task=[box,sr4]: a run has one task; -m task=box,sr4 makes a run of each"),
        ("+experiment=ffhq", "experiment: has a choice already; write experiment=... once"),
        (
            "hydra.run.dir=/proc/x",
            "hydra.run.dir: cannot write /proc/x (No such file or directory): make that possible",
        ),
        ("method=ldsmc task=null", "task=null: takes the name of one of its choices"),
    ],
)
def test_what_hydra_cannot_do_is_one_line(
    arguments: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert here(*arguments.split()) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"error: {line}")


@pytest.mark.parametrize("name", ["pics (1)", "ünï", "a,b", "k=v", "hash#1", "[x]", "it's", 'a "b"', "a\\ (b)", "$(x)"])
def test_a_path_that_needs_quotes_is_shown_in_them(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert here(f"dataset.root={tmp_path}/{name}", "dataset=folder", "--cfg", "job") == 2
    (said,) = capsys.readouterr().err.splitlines()
    (override,) = shlex.split(said[said.index("'dataset.root=") :])
    assert here(override, "dataset=folder", "--cfg", "job", "--package", "dataset.root") == 0
    assert capsys.readouterr().out == f"{tmp_path}/{name}\n"


def test_one_run_without_a_sweep(literal: Done, folder: Path) -> None:
    done = tiny(folder, "particles=1")
    assert (done.code, done.errors) == (0, [])
    assert "PSNR" in done.out
    assert len(re.findall(r"^sheet: .+\.png$", done.out, re.MULTILINE)) == 1


def test_a_sweep_over_tasks_ends_with_a_sheet_for_each(tmp_path: Path) -> None:
    done = tiny(tmp_path, *LIGHT, "-m", "task=denoise,sr4", "n_images=1", "particles=1")
    assert done.code == 0, done.err
    sheets = re.findall(r"^sheet: (.+)$", done.out, re.MULTILINE)
    assert [("denoise" in sheet, "sr4" in sheet) for sheet in sheets] == [(True, False), (False, True)]
    assert all((tmp_path / sheet).exists() for sheet in sheets)


@pytest.fixture(scope="module")
def helped(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """`--help all`, and what it imports."""
    return python(tmp_path_factory.mktemp("help"), "-X", "importtime", "-m", "ldsmc_bench", "--help", "all")


def test_help_is_there_at_once(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert python(tmp_path, "-m", "ldsmc_bench", "--help").returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert sum(after[:2]) - sum(before[:2]) < 1  # seconds of CPU


def test_help_of_all_keys_imports_no_large_library(helped: subprocess.CompletedProcess[str]) -> None:
    assert helped.returncode == 0
    imported = imports(helped.stderr)
    assert "hydra" in imported
    assert not imported & {"torch", "diffusers", "pandas", "wandb", "torchmetrics", "matplotlib"}


def imports(report: str) -> set[str]:
    """The packages in what `-X importtime` says."""
    return {line.rpartition("|")[2].strip().split(".")[0] for line in report.splitlines() if "|" in line}


def test_help_names_every_choice_and_every_key(helped: subprocess.CompletedProcess[str]) -> None:
    text = helped.stdout
    for group in ("method", "task", "dataset", "prior"):
        assert f"{group}: {', '.join(every_choice(group))}" in text
    assert set(re.findall(r"^(\w+):", text, re.MULTILINE)) >= {
        *("particles", "steps", "n_images", "seed", "batch_size", "shard", "shards"),
        *("device", "precision", "results_dir", "wandb", "variant"),
    }
    assert "-m particles=1,5,10" in text


@pytest.mark.parametrize("arguments", ["--help", "method=psld -h", "--version", "status"])
def test_small_questions_are_answered_without_heavy_imports(arguments: str, tmp_path: Path) -> None:
    done = python(tmp_path, "-X", "importtime", "-m", "ldsmc_bench", *arguments.split())
    assert done.returncode == 0
    assert not imports(done.stderr) & {"torch", "diffusers", "pandas", "wandb", "torchmetrics", "matplotlib", "scipy"}
    assert arguments == "status" or "hydra" not in imports(done.stderr)


def test_help_is_a_screen_of_the_keys_that_people_use_and_of_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert here("--help") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 50 and max(map(len, lines)) <= 120
    starts = [line.split()[0] for line in lines if line.strip()]
    assert {"method=", "task=", "particles=", "n_images=", "results_dir=", "status", "tables", "preflight"} <= set(
        starts
    )
