"""What a user may get wrong: one clear line, exit code 2 (or 1 where others went on), and finished work as it was."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ldsmc_bench.config import validate
from ldsmc_bench.errors import UserError, one_line
from ldsmc_bench.files import CONF
from ldsmc_bench.run import run
from tests.commands import LIGHT, TINY, Done, command, configured, files, here, records, runs, start, tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the bad commands are given: one finished run, a file and an empty folder."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "file").touch()
    (folder / "empty").mkdir()
    (folder / "empty" / "notes.txt").write_text("no picture")
    done = tiny(folder, *LIGHT)
    assert done.code == 0, done.err
    return folder


COMMANDS = {  # what is wrong in a command, and what its line must say
    "method=ldsm": "ldsmc",
    "task=freefrom": "freeform",
    "task=nonsense": "there are: box, circular_deblur, clip, colorize, deepinv, denoise, destripe, destripe_lines",
    "dataset=toyface": "toyfaces",
    "prior=ldm_toyface": "ldm_toyfaces",
    "partciles=3": "did you mean particles?",
    "kappa1=2": "did you mean method.sample.kappa1?",
    "method.sample.kapa1=2": "did you mean method.sample.kappa1?",
    "task.noisestd=1": "did you mean task.noise_std?",
    "dataset.root=pictures": "or dataset=folder or dataset=huggingface or dataset=imagenet or",
    "wandb.moed=online": "did you mean wandb.mode?",
    "experiment=nonsense": "ffhq, imagenet",
    "dataset=folder dataset.root=x +dataset.collecion=1": "did you mean dataset.collection?",
    "+method.verison=2": "did you mean method.version?",
    "variant=papr": "did you mean paper?",
    "method=ldps": "LDPS is method=latent_dps",
    "variant=foo": "no such variant; there are: adaptive, default, ",
    "particles=0": "must be a whole number of at least 1",
    "steps=1001": "the prior's schedule has 1000 steps",
    "task=box ~task.operator.size": "is missing",
    "dataset=folder": "dataset.root is not set",
    "~method.sample.eta": "is missing",
    "wandb=online": "set a key in it",
    "task=null": "takes the name of one of its choices",
    "results_dir=null": "must name a folder",
    "results_dir=file": "cannot write",
    "results_dir=file/below": "cannot write",
    "particles=1,2": "add -m",
    "-m particles=1,,2": "cannot be read",
    "-m particles=[1,2": "cannot be read",
    "particles": "write key=value",
    "~wandb": "leave ~wandb out",
    "~wandb.mode": "is missing",
    "~particles": "leave ~particles out",
    "~task.noise": "add it to task/freeform.yaml",
    "wandb.project=x": "there are: mode",
}

VALUES = {  # a value, or several, and what the line must say of the last
    "+method.sample.kapa1=2": "did you mean kappa1",
    "+foo=3": "foo: no such key",
    "+wandb.foo=3": "wandb.foo: no such key",
    "method.sample._target_=ldsmc_bench.sampling.ldsmc.smaple": "no such function",
    "+task.operator.foo=3": "there are: covered, length, segments, strokes, width",
    "+task.operator.legnth=3": "did you mean length?",
    "task=denoise +task.operator.foo=3": "there are: none",
    "task=box task.operator._target_=ldsmc_bench.problem.tasks.bx": "no such function",
    "+observers.mine._partial_=true +observers.mine._target_=nowhere.f": "no such function",
    "observers.jobs=word": "this is a section",
    "+dataset.trial=nowhere.f": "no such function",
    "keep_problems=maybe": "must be true or false",
    "particles=1.5": "must be a whole number of at least 1",
    "particles=abc": "must be a whole number of at least 1",
    "particles=null": "must be a whole number of at least 1",
    "particles=true": "must be a whole number of at least 1",
    "particles=[1,2]": "must be a whole number of at least 1",
    "particles=99999999999": "and at most 100000",
    "draws=0": "must be a whole number of at least 1 and at most 100000",
    "draws=99999999999": "and at most 100000",
    "steps=99999999999": "and at most 100000",
    "steps=0": "must be a whole number of at least 1",
    "steps=-3": "must be a whole number of at least 1",
    "n_images=0": "must be a whole number of at least 1",
    "batch_size=0": "must be auto or a whole number of at least 1",
    "seed=-1": "must be a whole number of at least 0",
    "shard=1": "with shards=1 the last is 0",
    "shard=2 shards=2": "with shards=2 the last is 1",
    "shards=0": "must be a whole number of at least 1",
    "precision=fp8": "must be fp64 or fp32 or tf32 or bf16",
    "launch=gpus": "must be attached or detached; hydra/launcher=gpus",
    "device=cuda:7": "try device=auto",
    "device=gpu": "try device=auto",
    "device=null": "must be a word",
    "wandb.mode=maybe": "must be online or offline or disabled",
    "task.noise_std=-1": "must be a number of at least 0",
    "task.noise_std=nan": "must be a number of at least 0",
    "measurement.noise_in_hole=maybe": "must be true or false",
    "method.sample.rho=2": "must be a number from 0 to 1",
    "method.sample.kappa1=inf": "must be a number of at least 0",
    "method.sample.chain=foo": "must be paper or released",
    "method.sample._target_=tests.samplers.one_nan": "give it a name of its own with method.name=...",
    "time_limit=0": "must be null or a number above 0",
    "call_limit=0.5": "must be null or a whole number of at least 1",
    "method.sample.temperature=0": "must be sum or mean or a number",
    "task.operator.width=[30,20]": "must be a range",
    "task=box task.operator.size=250": "must be a hole that fits",
    "task.operator=3": "set a key in it",
    "task=denoise task.operator._target_=operator.index": "with task.name=",
    "method.sample._target_=tests.samplers.broken": "with method.name=",
    "task.noise=laplace": "must be gaussian or uniform or poisson or salt_and_pepper",
    "task.noise=poisson measurement.poisson_rate=0": "must be a number",
    "task=phase_retrieval task.noise=poisson": "use gaussian",
    "dataset=folder dataset.root=nowhere": "no such folder",
    "dataset=folder dataset.root=empty": "no pictures",
    "prior=ldm_toyfaces dataset=ffhq": "dataset.root is not set",
    "prior=ldm_toyfaces dataset=ffhq dataset.root=nowhere": "no such folder",
    "prior=ldm_toyfaces dataset=ffhq dataset.root=empty": "2 of 2 pictures are missing",
    "prior=ldm_toyfaces dataset=ffhq dataset.root=empty dataset.split=validation": "must be test or tuning",
    "prior=ldm_toyfaces dataset=ffhq dataset.root=empty dataset.validation=last": "must be last10k or taming",
    "prior=ldm_toyfaces dataset=imagenet": "dataset.root is not set",
    "prior=ldm_toyfaces dataset=imagenet dataset.root=empty": "dataset.labels is not set",
    "prior=ldm_toyfaces dataset=imagenet dataset.root=empty dataset.labels=nowhere": "No such file",
    "dataset.split=tuning": "choose one of train, validation, test",
    "particles=${nonsense}": "Interpolation key 'nonsense' not found",
    "device=meta": "try device=auto",
    "device=mps": "backend); try device=auto",
}


@pytest.mark.parametrize(("arguments", "said"), COMMANDS.items())
def test_a_mistake_is_one_line_that_names_the_key_and_the_remedy(
    folder: Path, arguments: str, said: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (finished,) = runs(folder)
    before = files(finished)
    monkeypatch.chdir(folder)
    done = Done(here(*TINY, *arguments.split()), *capfd.readouterr())
    assert done.code == 2
    (line,) = done.errors
    key = arguments.removeprefix("-m ").split()[-1].partition("=")[0].lstrip("+~")
    assert key in line and said in line
    assert done.err.rstrip().endswith(line), "nothing follows the line"
    assert "Traceback" not in done.err + done.out
    assert "PSNR" not in done.out
    assert files(finished) == before and runs(folder) == [finished]


@pytest.mark.parametrize(("changes", "said"), VALUES.items())
def test_a_wrong_value_is_named_with_its_remedy(
    folder: Path, changes: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the command around it, whose line and exit code are those of the mistakes above."""
    (finished,) = runs(folder)
    before = files(finished)
    monkeypatch.chdir(folder)
    with pytest.raises(UserError) as refused:
        run(configured(*TINY, *changes.split()))
    key = changes.split()[-1].partition("=")[0].lstrip("+")
    line = one_line(refused.value)
    assert ("sample.particles" if "nonsense}" in changes else key) in line and said in line
    assert files(finished) == before and runs(folder) == [finished]


SAMPLE = "\n  _target_: tests.samplers.one_nan\n  _partial_: true\n"
WRITTEN = {  # a file of the user's, the arguments that choose it, and what the line must say
    "a name that YAML reads as false": (
        "method",
        "name: no\nsample:" + SAMPLE,
        "method.name=False: must be a word",
    ),
    "as a number": ("method", "name: 1e5\nsample:" + SAMPLE, "must be a word, which YAML reads as one in quotes"),
    "as null": ("method", "name:\nsample:" + SAMPLE, "method.name=None: must be a word"),
    "no name": ("method", "sample:" + SAMPLE, "method.name is missing: add it to method/mine.yaml"),
    "a tab": ("method", "name: mine\nsample:\n\t_partial_: true", "method/mine.yaml:3: found character"),
    "empty": ("method", "", "method is missing: method/mine.yaml is empty"),
    "only a comment": ("task", "# later", "task is missing: task/mine.yaml is empty"),
    "a list": ("dataset", "- name\n- load\n", "dataset=['name', 'load']: this is a section"),
    "no sample": ("method", "name: mine", "method.sample is missing: add it to method/mine.yaml"),
    "not partial": ("method", "name: mine\nsample: {_target_: tests.samplers.one_nan}", "write _partial_: true below"),
    "no function": ("method", "name: mine\nsample:\n  _partial_: true", "method.sample._target_=None: must name"),
    "not UTF-8": ("method", b"name: \xff", "not UTF-8"),
    "a task called no": (
        "task",
        "name: no\noperator: 1\nnoise: gaussian\nnoise_std: 1",
        "task.name=False: must be a word",
    ),
    "a prior without size": (
        "prior",
        "name: mine\nload: {_target_: f}",
        "prior.image_size is missing: add it to prior/",
    ),
    "a data set with an argument too many": (
        "dataset",
        "name: mine\ntuning: toyfaces\nload: {_target_: ldsmc_bench.toyfaces.dataset.toyfaces, splitt: test}",
        "did you mean split?",
    ),
}


@pytest.mark.parametrize(("group", "text", "said"), WRITTEN.values(), ids=WRITTEN)
def test_a_file_of_the_users_that_cannot_be_used_is_one_line(
    folder: Path,
    tmp_path: Path,
    group: str,
    text: str | bytes,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / group).mkdir()
    (tmp_path / group / "mine.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    monkeypatch.chdir(folder)
    assert here(*TINY, "--config-dir", str(tmp_path), f"{group}=mine", *["prior=ldm_toyfaces"] * (group == "dataset"))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and said in line


def test_a_wrong_key_of_a_method_of_the_users_is_told_from_its_own(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "method").mkdir()
    text = (CONF / "method" / "dps.yaml").read_text("utf-8")
    (tmp_path / "method" / "mine.yaml").write_text(
        text.replace("name: dps", "name: mine").replace("sample:\n", "sample:\n  warmth: 1\n", 1)
    )
    monkeypatch.chdir(folder)
    assert here(*TINY, "--config-dir", str(tmp_path), "method=mine", "method.sample.warmht=1")
    assert "did you mean method.sample.warmth?" in capsys.readouterr().err


MODULES = {  # a module of the user's, and what the line must say of it
    "x = torchh.zeros(1)": ":1: NameError: name 'torchh' is not defined",
    "import math\nimport nowhere_to_be_found": ":2: ModuleNotFoundError: No module named 'nowhere_to_be_found'",
    "def sample(:": ":1: SyntaxError: invalid syntax",
    "import sys\nsys.exit(3)": ":2: SystemExit: 3",
    "import json\njson.loads('{')": ":2: JSONDecodeError: ",
    "": "no such function (",
    None: "no such function (No module named '",
}


@pytest.mark.parametrize(("number", "text"), [*enumerate(MODULES)])
def test_a_mistake_in_a_module_of_the_users_is_named_by_its_place(
    tmp_path: Path, number: int, text: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / f"mine{number}.py"  # a name for each, since Python keeps what it has imported
    if text is not None:
        file.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError) as refused:
        validate(configured(f"method.sample._target_={file.stem}.sample", "method.name=mine"))
    place = file if MODULES[text].startswith(":") else ""
    assert str(refused.value).startswith(f"method.sample._target_={file.stem}.sample: {place}{MODULES[text]}")


def test_one_bad_point_of_a_sweep_does_not_take_the_others_results(tmp_path: Path) -> None:
    done = tiny(tmp_path, *LIGHT, "-m", "particles=0,1", "n_images=1")
    assert done.code == 1
    assert done.err.splitlines()[-1] == "error: particles=0: must be a whole number of at least 1 and at most 100000"
    (run,) = runs(tmp_path)
    assert [record["status"] for record in records(run).values()] == ["ok"]
    assert json.loads((run / "summary.json").read_text())["particles"] == 1
    assert "sheet: " in done.out


def test_an_unknown_choice_among_a_sweeps_is_told_before_anything_is_computed(tmp_path: Path) -> None:
    done = tiny(tmp_path, "-m", "task=box,freefrom")
    assert done.code != 0
    assert done.errors == [
        "error: task=freefrom: no such task; did you mean freeform?; for one of your own add --config-dir FOLDER"
    ]
    assert not (tmp_path / "results" / "runs").exists()


def test_a_folder_of_ones_own_is_named_where_it_was_not_given(tmp_path: Path) -> None:
    hint = "for one of your own add --config-dir FOLDER"
    (line,) = command(tmp_path, "method=mine").errors
    assert line.startswith("error: method=mine: no such method; there are: ") and line.endswith(hint)
    (line,) = command(tmp_path, "method=mine", "--config-dir", str(tmp_path)).errors
    assert hint not in line


def test_a_mistake_of_ours_shows_where_it_is_and_does_not_take_the_others_results(tmp_path: Path) -> None:
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "broken.yaml").write_text(
        "defaults: [ldsmc, _self_]\nname: broken\nsample:\n  _target_: tests.samplers.broken\n"
    )
    done = tiny(
        tmp_path, *LIGHT, "--config-dir", str(tmp_path), "-m", "method=ldsmc,broken", "n_images=1", "particles=1"
    )
    assert done.code == 1
    assert "Traceback" in done.err
    (line,) = done.errors
    assert "method=broken: ZeroDivisionError: a mistake of a programmer (log: " in line
    assert "ZeroDivisionError" in (Path(line.rpartition("(log: ")[2].rstrip(")")) / "run.log").read_text()
    assert "PSNR" in done.out


# -- pictures


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three pictures, of which the second is damaged; `good.png` is what it should be, in as many bytes."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        Image.fromarray(draw.integers(0, 256, (80, 70, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    whole = (folder / "b.png").read_bytes()
    (tmp_path / "good").write_bytes(whole)
    (folder / "b.png").write_bytes(bytes(len(whole)))
    return folder


def test_an_unreadable_picture_fails_alone_and_is_made_up_for_once_it_is_repaired(
    tmp_path: Path, pictures: Path
) -> None:
    overrides = (*LIGHT, "dataset=folder", f"dataset.root={pictures}", "n_images=3", "batch_size=2")
    done = tiny(tmp_path, *overrides)
    assert done.code == 1
    assert f"{pictures / 'b.png'}: this image cannot be read" in done.err
    (line,) = done.errors
    assert "1 of 3 images failed" in line
    assert "2 (1 failed)" in done.out
    (run,) = runs(tmp_path)
    assert {name: record["status"] for name, record in records(run).items()} == {"a": "ok", "b": "failed", "c": "ok"}
    assert str(pictures / "b.png") in records(run)["b"]["error"]
    assert json.loads((run / "summary.json").read_text())["n_failed"] == 1
    finished = {name: file for name, file in files(run).items() if name[0] != "b"}

    shutil.copy(tmp_path / "good", pictures / "b.png")
    done = tiny(tmp_path, *overrides)
    assert (done.code, done.errors) == (0, [])
    assert {record["status"] for record in records(run).values()} == {"ok"}
    assert finished.items() <= files(run).items()
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["n"], summary["n_failed"]) == (3, 0)


def test_a_folder_in_which_no_picture_can_be_read(tmp_path: Path, pictures: Path) -> None:
    for name in ("a", "c"):
        (pictures / f"{name}.png").write_bytes(b"")
    done = tiny(tmp_path, *LIGHT, "dataset=folder", f"dataset.root={pictures}", "n_images=3")
    assert done.code == 1
    assert "3 of 3 images failed" in done.errors[0]
    assert "Traceback" not in done.err


def test_the_status_of_a_folder_that_is_not_there(tmp_path: Path) -> None:
    done = start(tmp_path, "--results-dir", "nowhere", module="ldsmc_bench.status").done()
    assert done.code == 2
    assert len(done.errors) == len(done.err.splitlines()) == 1
    assert "nowhere" in done.errors[0]


def test_help_and_info_are_no_failures(tmp_path: Path) -> None:
    assert command(tmp_path, "--cfg", "job").code == 0
    assert command(tmp_path, "--help").code == 0


SAMPLER = """
def sample(prior, measurement, noise, trace, *, steps, extra=None):
    return measurement.y.new_full((len(measurement.y), 3, 64, 64), VALUE)
"""
MINE = ("method.name=mine", "task=denoise", "~method.sample", "+method.sample={_partial_: true, steps: 2}")


@pytest.mark.parametrize("value", ["{1:2}", "[nan]"])
def test_an_argument_that_cannot_name_a_run_is_one_line(
    tmp_path: Path, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine_d.py").write_text(SAMPLER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert here(*TINY, *LIGHT, *MINE, "+method.sample._target_=mine_d.sample", f"+method.sample.extra={value}") == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("error: method.sample.extra") and "cannot be part of a run" in line


def test_another_function_of_the_same_name_does_not_take_a_runs_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("mine_a", 0), ("mine_b", 1), ("mine_c", 0)):
        (tmp_path / f"{name}.py").write_text(SAMPLER.replace("VALUE", str(value)))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    codes = [here(*TINY, *LIGHT, *MINE, f"+method.sample._target_=mine_{name}.sample") for name in "abc"]
    assert codes == [0, 2, 0]  # c is a, moved
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "was computed by mine_a.sample" in line and "method.name=" in line
