"""`python -m ldsmc_bench verify`: what it prints and how it exits."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ldsmc_bench.replay.verify import main, operators
from tests.checkpoints.conditional_files import class_conditional, text_conditional
from tests.commands import start

FIXTURES = Path(__file__).parents[1] / "fixtures"
LATENT = FIXTURES / "compvis_ldm_vq4_unconditional"
OPERATORS = FIXTURES / "operators" / "operators_seed0.safetensors"


def copy_of(source: Path, folder: Path) -> Path:
    for file in source.iterdir():
        (folder / file.name).symlink_to(file)
    return folder


def expect(folder: Path, **changed: torch.Tensor) -> None:
    path = folder / "expected.safetensors"
    expected = load_file(path)
    path.unlink()
    save_file({**expected, **changed}, path)


def test_the_command_passes_on_a_latent_checkpoint(tmp_path):
    done = start(tmp_path, str(LATENT), module="ldsmc_bench.verify").done()
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found.keys() == load_file(LATENT / "expected.safetensors").keys() - {"x", "z", "t"}
    assert all(0 <= value < 1e-4 for value in found.values())


def test_a_pixel_checkpoint_passes(capsys):
    assert main([str(FIXTURES / "guided_diffusion")]) == 0
    assert list(json.loads(capsys.readouterr().out)) == ["out"]


def test_a_class_conditional_checkpoint_passes(tmp_path, capsys):
    written = class_conditional(tmp_path)
    z, t, labels = torch.randn(2, 3, 8, 8), torch.tensor([5.0, 700.0]), torch.tensor([4, 0])
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    context = written.conditioner(labels)[:, None]
    expected = {
        "eps": written.unet(z, t, context),
        "eps_ema": written.average(z, t, context),
        "encode": written.first_stage.encode(x),
        "decode": written.first_stage.decode(z),
    }
    for given in ({"class_label": labels}, {"context": context.contiguous()}):
        save_file({"z": z, "t": t, "x": x, **given, **expected}, tmp_path / "expected.safetensors")
        assert main([str(tmp_path)]) == 0
        assert json.loads(capsys.readouterr().out).keys() == expected.keys()
    save_file({"z": z, "t": t, "eps": expected["eps"]}, tmp_path / "expected.safetensors")  # without a class
    assert main([str(tmp_path)]) == 1


def test_a_text_conditional_checkpoint_passes(tmp_path, capsys):
    pytest.importorskip("transformers", reason="needs the extra [text]")
    written = text_conditional(tmp_path)
    z, t, x = torch.randn(1, 4, 8, 8), torch.tensor([400.0]), torch.rand(1, 3, 16, 16) * 2 - 1
    noise, context = torch.randn(1, 4, 8, 8), torch.randn(1, 77, 128)
    mean, std = written.first_stage.posterior(x)
    expected = {
        "eps": written.unet(z, t, context),
        "encode": 0.18215 * (mean + std * noise),
        "decode": written.first_stage.decode(z / 0.18215),
    }
    given = {"z": z, "t": t, "x": x, "context": context, "posterior_noise": noise}
    save_file({**given, **expected}, tmp_path / "expected.safetensors")
    assert main([str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out).keys() == expected.keys()


def test_operators_pass_and_what_was_not_compared_is_said(capsys):
    assert main(["--operators", str(OPERATORS)]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found.keys() == {"super_resolution_x4", "super_resolution_x8"}
    assert max(found.values()) < 1e-5
    computed = operators(load_file(OPERATORS))
    for name, rows in load_file(OPERATORS.with_name("rows_seed0.safetensors")).items():
        assert (computed[name]()[:, :, ::8] - rows).abs().max() < 1e-5
    assert "free_form_masks: skipped" in printed.err


@pytest.mark.parametrize(("offset", "shown"), [(2e-4, pytest.approx(2e-4, rel=0.1)), (float("nan"), None)])
def test_a_deviation_is_reported_and_fails(tmp_path, capsys, offset, shown):
    folder = copy_of(FIXTURES / "guided_diffusion", tmp_path)
    expect(folder, out=load_file(folder / "expected.safetensors")["out"] + offset)
    assert main([str(folder)]) == 1
    assert json.loads(capsys.readouterr().out) == {"out": shown}


def test_an_unknown_quantity_and_another_shape_are_errors(tmp_path, capsys):
    folder = copy_of(FIXTURES / "guided_diffusion", tmp_path)
    expect(folder, out=torch.zeros(1, 6, 64, 64))
    assert main([str(folder)]) == 2
    assert capsys.readouterr().err.startswith("error: out: has shape (2, 6, 64, 64)")
    expect(folder, brightness=torch.zeros(1))
    assert main([str(folder)]) == 2
    assert capsys.readouterr().err.startswith("error: brightness: cannot be computed here")


@pytest.mark.parametrize("arguments", [["nowhere"], ["--operators", "nowhere"]])
def test_an_absent_file_is_one_line(arguments, capsys):
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: nowhere") and printed.err.count("\n") == 1 and printed.out == ""
