import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import lpips
import pytest
import torch
from torch import Tensor, nn
from torchmetrics.functional.image.lpips import _LPIPS

from ldsmc_bench.checkpoints.metrics import load_lpips, lpips_distance
from ldsmc_bench.errors import UserError

FILES = {"vgg": "lpips_vgg/vgg16-397923af.pth", "alex": "lpips_alex/alexnet-owt-7be5be79.pth"}


@pytest.fixture(scope="module")
def alex(standin_files: Path) -> lpips.LPIPS:
    return load_lpips("alex", standin_files / FILES["alex"])


@pytest.fixture(scope="module")
def pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand((2, 3, 80, 96), generator=generator)
    return x, (x + 0.2 * torch.rand(x.shape, generator=generator)).clamp(0, 1)


@pytest.fixture
def without_initial_weights(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """torchvision's own random weights take seconds to draw, and every network here gets others."""
    for name in ("kaiming_normal_", "kaiming_uniform_", "normal_"):
        monkeypatch.setattr(nn.init, name, lambda tensor, *_, **__: tensor)
    yield


@pytest.mark.usefixtures("without_initial_weights")
@pytest.mark.parametrize("net", ["vgg", "alex"])
def test_agrees_with_torchmetrics_on_the_same_weights(
    standin_files: Path, pair: tuple[Tensor, Tensor], net: Literal["vgg", "alex"]
) -> None:
    other = theirs(net, torch.load(standin_files / FILES[net], weights_only=True))
    expected = other(*pair, normalize=True).flatten()
    found = lpips_distance(load_lpips(net, standin_files / FILES[net]), *pair)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-5, atol=1e-5)
    assert (found > 1e-3).all()


def theirs(net: Literal["vgg", "alex"], weights: dict[str, Tensor]) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = _LPIPS(net=net, pnet_rand=True)
    convolutions = [layer for layer in network.net.modules() if isinstance(layer, nn.Conv2d)]
    kept = [name.removesuffix(".weight") for name in weights if name.startswith("features") and name.endswith("weight")]
    for layer, name in zip(convolutions, kept, strict=True):
        layer.weight.data, layer.bias.data = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return network.eval()


def test_zero_for_the_same_image_and_one_value_an_image(alex: lpips.LPIPS, pair: tuple[Tensor, Tensor]) -> None:
    x, y = pair
    assert torch.equal(lpips_distance(alex, x, x), torch.zeros(2))
    alone = lpips_distance(alex, x[1:], y[1:])
    torch.testing.assert_close(lpips_distance(alex, x, y)[1:], alone, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan")])
@pytest.mark.parametrize("which", [0, 1])
def test_only_images_in_the_unit_range(
    alex: lpips.LPIPS, pair: tuple[Tensor, Tensor], value: float, which: int
) -> None:
    images = [pair[0].clone(), pair[1].clone()]
    images[which][0, 1, 2, 3] = value
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        lpips_distance(alex, *images)


@pytest.mark.usefixtures("without_initial_weights")
@pytest.mark.parametrize("content", ["another network", "not weights"])
def test_another_file_is_one_line(standin_files: Path, tmp_path: Path, content: str) -> None:
    path = tmp_path / "file.pth"
    path.write_bytes((standin_files / FILES["vgg"]).read_bytes() if content == "another network" else b"<p>no</p>" * 99)
    with pytest.raises(UserError, match="metric=lpips_alex --force") as caught:
        load_lpips("alex", path)
    assert "\n" not in str(caught.value)
