"""Small files in the formats of the ones that the fetch command brings; their weights are random."""

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers


class Layers(nn.Module):
    """Where Inception has its layers: 2048 features, none below zero, of images (B,3,299,299) in [-1,1]."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(6)
        self.last = nn.Linear(3 * 36, 2048)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.last(self.pool(x).flatten(1))).reshape(-1, 2048, 1, 1)


class Scripted(nn.Module):
    """The signature of the file that clean-fid uses."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = Layers()

    def forward(self, x: Tensor, return_features: bool = False) -> Tensor:
        return self.layers(x)


def inception(path: Path) -> None:
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.*")
        torch.manual_seed(0)
        torch.jit.script(Scripted()).save(str(path))


def vgg(path: Path) -> None:
    _torchvision(make_layers(cfgs["D"], batch_norm=False), path)


def alex(path: Path) -> None:
    shapes = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}
    convolutions = {str(i): nn.Conv2d(b, a, k) for i, (a, b, k, _) in shapes.items()}
    _torchvision(nn.ModuleDict(convolutions), path)


def niqe(path: Path) -> None:
    """Features of noise, so that the covariance is one of its kind."""
    from ldsmc_bench.checkpoints.niqe import block_features

    blocks = block_features(np.random.default_rng(0).integers(16, 236, (960, 960)).astype(float))
    np.savez(path, mu_pris_param=blocks.mean(0)[None], cov_pris_param=np.cov(blocks, rowvar=False))


def _torchvision(features: nn.Module, path: Path) -> None:
    """A state dict as torchvision publishes it: `features.…` and, of other layers, `classifier.…`."""
    generator = torch.Generator().manual_seed(0)
    weights = {
        f"features.{name}": torch.randn(value.shape, generator=generator) * (2 / max(value[0].numel(), 1)) ** 0.5
        for name, value in features.state_dict().items()
    }
    torch.save(weights | {"classifier.6.bias": torch.zeros(1000)}, path)


FILES = {
    "inception/inception-2015-12-05.pt": inception,
    "lpips_alex/alexnet-owt-7be5be79.pth": alex,
    "lpips_vgg/vgg16-397923af.pth": vgg,
    "niqe/niqe_pris_params.npz": niqe,
}


def write(cache: Path, only: str = "") -> None:
    """All of them, or only those of a metric, where the fetch command would put them."""
    for name, make in FILES.items():
        if name.startswith(only):
            path = cache / "metrics" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            make(path)
