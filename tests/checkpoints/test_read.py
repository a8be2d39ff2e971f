"""A checkpoint is read without executing anything that it holds, and a bad one is refused in one line."""

import os
import pickle
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ldsmc_bench.checkpoints.read import read_checkpoint
from ldsmc_bench.errors import UserError

FIXTURE = Path(__file__).parents[1] / "fixtures" / "compvis_ldm_vq4_unconditional" / "model.ckpt"


class Hostile:
    """Unpickled without restriction, it creates a file."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.victim}",)


class Evaluating(Hostile):
    def __reduce__(self) -> tuple[object, ...]:
        return eval, (f"open({str(self.victim)!r}, 'w')",)


def zip_file(content: object, path: Path) -> None:
    torch.save(content, path)


def old_file(content: object, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def bare_pickle(content: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


@pytest.mark.parametrize("save", [zip_file, old_file, bare_pickle])
@pytest.mark.parametrize(("kind", "asked"), [(Hostile, "posix.system"), (Evaluating, "eval")])
def test_a_hostile_pickle_is_refused_by_name_and_not_run(tmp_path, save, kind, asked):
    victim, path = tmp_path / "victim", tmp_path / "model.ckpt"
    save({"state_dict": {"weight": torch.zeros(2)}, "callbacks": kind(victim)}, path)
    with pytest.raises(
        UserError, match=rf"model\.ckpt: refused, its pickle asks for (builtins\.)?{asked}\b"
    ) as refusal:
        read_checkpoint(path)
    assert not victim.exists()
    assert "\n" not in str(refusal.value)
    with path.open("rb") as file:  # the file is a real attack: the unrestricted unpickler falls for it
        if save is bare_pickle:
            pickle.load(file)
            assert victim.exists()


def test_lightning_objects_become_inert(tmp_path):
    """Instances with a state, classes as keys and numpy scalars, as Lightning's checkpoints hold them."""
    path = tmp_path / "model.ckpt"
    callback = type("Stopping", (), {"__module__": "pytorch_lightning.callbacks.early_stopping"})
    module = type(os)("pytorch_lightning.callbacks.early_stopping")
    module.Stopping = callback
    names = ("pytorch_lightning", "pytorch_lightning.callbacks", module.__name__)
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setitem(__import__("sys").modules, name, module)
        instance = callback()
        instance.patience = 3
        torch.save({"state_dict": {"w": torch.ones(2)}, "callbacks": {callback: instance}, "loss": np.float64(1)}, path)
    weights = read_checkpoint(path)
    assert list(weights) == ["w"] and weights["w"].tolist() == [1, 1]


@pytest.mark.parametrize("module", ["pytorch_lightnings.callbacks", "my.pytorch_lightning.callbacks", "os.lightning"])
def test_only_the_frameworks_own_names_become_inert(tmp_path, monkeypatch, module):
    path, made = tmp_path / "model.ckpt", type(os)(module)
    made.Stopping = type("Stopping", (), {"__module__": module})
    for i in range(1, module.count(".") + 2):
        part = ".".join(module.split(".")[:i])
        if part != "os":
            monkeypatch.setitem(sys.modules, part, made)
    torch.save({"state_dict": {"w": torch.ones(2)}, "callbacks": made.Stopping()}, path)
    with pytest.raises(UserError, match=rf"asks for {module}\.Stopping"):
        read_checkpoint(path)


def test_a_hostile_call_beside_inert_objects_is_refused(tmp_path, monkeypatch):
    """Inert objects open no way: what is built from them is still checked name by name."""
    victim, path, name = tmp_path / "victim", tmp_path / "model.ckpt", "pytorch_lightning.callbacks"
    module = type(os)(name)
    module.Stopping = type("Stopping", (), {"__module__": name})
    for part in ("pytorch_lightning", name):
        monkeypatch.setitem(sys.modules, part, module)
    inert = module.Stopping()
    inert.on_load = Hostile(victim)
    torch.save({"state_dict": {"w": torch.ones(2)}, "callbacks": inert}, path)
    with pytest.raises(UserError, match=r"asks for posix\.system"):
        read_checkpoint(path)
    assert not victim.exists()


@pytest.mark.parametrize("save", [zip_file, old_file])
@pytest.mark.parametrize("wrapped", [True, False])
def test_weights_survive_with_or_without_a_state_dict(tmp_path, save, wrapped):
    path = tmp_path / "model.pt"
    weights = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(7)}
    save({"state_dict": weights, "epoch": 3} if wrapped else weights, path)
    read = read_checkpoint(path)
    assert list(read) == ["a", "b"]
    assert all(torch.equal(read[key], weights[key]) for key in weights)


@pytest.mark.parametrize("kept", [0, 1, 3, 1000, 100_000, 13_000_000])
def test_a_truncated_file_is_one_clear_line(tmp_path, kept):
    path = tmp_path / "model.ckpt"
    path.write_bytes(FIXTURE.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"model\.ckpt: cannot be read, the file is truncated") as refusal:
        read_checkpoint(path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("save", [zip_file, old_file])
def test_damaged_bytes_are_one_clear_line(tmp_path, save):
    """Flipped and lost bytes anywhere: the weights are read, or the file is refused; nothing else is raised."""
    whole, path, draw = tmp_path / "whole.ckpt", tmp_path / "model.ckpt", random.Random(0)
    save({"state_dict": {f"layer.{i}.weight": torch.ones(4, 4) for i in range(6)}, "epoch": 3}, whole)
    refused = 0
    for _ in range(150):
        content = bytearray(whole.read_bytes())
        for _ in range(draw.choice([1, 1, 2, 5])):
            content[draw.randrange(len(content))] = draw.randrange(256)
        if draw.random() < 0.2:
            start = draw.randrange(len(content))
            del content[start : start + draw.randrange(40)]
        path.write_bytes(content)
        try:
            assert all(isinstance(weight, torch.Tensor) for weight in read_checkpoint(path).values())
        except UserError as error:
            assert "model.ckpt" in str(error) and "\n" not in str(error)
            refused += 1
    assert 30 < refused < 150


def test_a_truncated_old_file_is_one_clear_line(tmp_path):
    whole, path = tmp_path / "whole.pt", tmp_path / "model.pt"
    old_file({"a": torch.zeros(1000)}, whole)
    for kept in (10, 200, 2000):
        path.write_bytes(whole.read_bytes()[:kept])
        with pytest.raises(UserError, match="truncated"):
            read_checkpoint(path)


@pytest.mark.parametrize("content", [{"state_dict": {"a": 3}}, {"epoch": 3}, [1, 2], {}, torch.zeros(3)])
def test_a_file_without_weights_is_refused(tmp_path, content):
    path = tmp_path / "model.ckpt"
    torch.save(content, path)
    with pytest.raises(UserError, match="not a checkpoint of a known layout"):
        read_checkpoint(path)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"model\.ckpt: no such checkpoint"):
        read_checkpoint(tmp_path / "model.ckpt")
