import json
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ldsmc_bench.errors import UserError
from ldsmc_bench.files import file_digest
from ldsmc_bench.toyfaces import assets
from ldsmc_bench.toyfaces.train import train_pixel
from ldsmc_bench.toyfaces.training import fit, learning_rate, render, ship


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x


def loss(module: Line, generator: torch.Generator, step: int) -> Tensor:
    x = torch.randn(16, generator=generator)
    return (module(x) - 3 * x).square().mean()


def trained(out: Path, steps: int = 400, stop_at: int | None = None) -> float:
    def stopped(module: Line, generator: torch.Generator, step: int) -> Tensor:
        if step == stop_at:
            raise KeyboardInterrupt
        return loss(module, generator, step)

    ema = fit(Line(), stopped, out=out, steps=steps, lr=0.05, seed=1, warmup=10, save_every=50)
    return ema.weight.item()


def test_training_reaches_the_optimum(tmp_path: Path) -> None:
    assert trained(tmp_path / "w.safetensors") == pytest.approx(3, abs=0.05)


def test_a_training_that_was_stopped_goes_on_as_if_it_had_not(tmp_path: Path) -> None:
    undisturbed = trained(tmp_path / "a.safetensors", steps=120)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "b.safetensors", steps=120, stop_at=70)
    assert trained(tmp_path / "b.safetensors", steps=120) == undisturbed


def test_shipped_weights_tell_how_they_came_about_and_are_known_by_digest(tmp_path: Path) -> None:
    out = tmp_path / "line.safetensors"
    ema = fit(Line(), loss, out=out, steps=5, lr=0.05, seed=1)
    ship(ema, out, dtype=torch.float16, seed=1)
    assert not out.with_name(out.name + ".training").exists()
    facts = assets.training_facts(out)
    assert {"command", "minutes", "machine", "seed"} <= set(facts)
    assert assets.load(Line(), out).weight.item() == pytest.approx(ema.weight.item(), rel=1e-3)

    out.write_bytes(out.read_bytes()[:-1] + b"\x00")
    with pytest.raises(UserError, match=r"line\.safetensors: SHA-256 differs"):
        assets.load(Line(), out)
    out.unlink()
    with pytest.raises(UserError, match=r"line\.safetensors: weights are missing"):
        assets.load(Line(), out)


def test_a_denoiser_goes_on_from_earlier_weights(tmp_path: Path) -> None:
    start, out = assets.ASSETS / "toyfaces_pixel.safetensors", tmp_path / "pixel.safetensors"
    earlier = {"start": assets.training_facts(start)}
    options = Namespace(steps=1, batch_size=1, lr=0.0, seed=0, start=start, earlier=earlier)
    train_pixel(render(["train-000000"], workers=1), out, options)
    before, after = load_file(start), load_file(out)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert assets.training_facts(out)["start"] == assets.training_facts(start)


def test_weights_of_unknown_origin_are_one_line(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(1)}, foreign := tmp_path / "foreign.safetensors")
    (broken := tmp_path / "broken.safetensors").write_bytes(b"x")
    for path, why in ((foreign, "no weights that `train`"), (broken, "no weights"), (tmp_path / "no", "are missing")):
        with pytest.raises(UserError, match=why):
            assets.training_facts(path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "line.safetensors"
    ship(fit(Line(), loss, out=out, steps=2, lr=0.05, seed=1), out, dtype=torch.float32)
    with pytest.raises(UserError, match="not the weights of this network"):
        assets.load(nn.Linear(2, 2), out)


def test_learning_rate_warms_up_and_falls() -> None:
    rates = [learning_rate(step, 1000, 100) for step in (0, 50, 100, 500, 999)]
    assert rates[0] < rates[1] < rates[2]
    assert rates[2] > rates[3] > rates[4] > 0


def test_faces_are_drawn_in_order(tmp_path: Path) -> None:
    ids = ["train-000000", "train-000001", "train-000002"]
    together, alone = render(ids, workers=2), render(ids[2:], workers=1)
    assert together.shape == (3, 3, 64, 64)
    assert torch.equal(together[2:], alone)


def test_every_asset_is_listed_with_its_digest_and_small_enough() -> None:
    listed = json.loads((assets.ASSETS / "digests.json").read_text())
    files = sorted(assets.ASSETS.glob("*.safetensors"))
    assert {path.name for path in files} == set(listed)
    assert all(file_digest(path) == listed[path.name] for path in files)
    assert sum(path.stat().st_size for path in files) < 40e6
