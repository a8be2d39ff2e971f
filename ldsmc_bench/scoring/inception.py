"""clean-fid's features: Inception-v3 as TorchScript, from the cache, of images resized as clean-fid does."""

import warnings
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from cleanfid.inception_torchscript import InceptionV3W
from cleanfid.resize import build_resizer
from torch import Tensor, nn

from ldsmc_bench.errors import UserError
from ldsmc_bench.scoring.fetched import full_float32

DIMENSION = 2048
BATCH = 16

_resized: Callable[[np.ndarray], np.ndarray] = build_resizer("clean")


def load_inception(path: Path, device: torch.device) -> nn.Module:
    """clean-fid's network, frozen. Raises UserError where `path` is no TorchScript of it."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*torch.jit.*")  # TorchScript is deprecated, the file is in it
            network = InceptionV3W(str(path.parent), download=False)
        return network.eval().requires_grad_(False).to(device)
    except (RuntimeError, AttributeError, ValueError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0].strip()
        raise UserError(
            f"{path}: not the scripted Inception network ({line}): python -m ldsmc_bench.fetch metric=inception --force"
        ) from error


@torch.no_grad()
def inception_features(network: nn.Module, images: Iterable[Tensor]) -> np.ndarray:
    """Features (n, 2048), float64, of uint8 images (3,S,S), one after another."""
    device = next(network.parameters()).device
    found, waiting = [], map(resized, images)
    with full_float32():
        while batch := list(islice(waiting, BATCH)):
            found.append(network(torch.stack(batch).to(device)).cpu().double())
    return torch.cat(found).numpy() if found else np.empty((0, DIMENSION))


def resized(image: Tensor) -> Tensor:
    """A uint8 image (3,S,S) as float32 (3,299,299) in 0..255: bicubic, antialiased, not rounded."""
    if image.dtype != torch.uint8:
        raise TypeError(f"metrics are computed from 8-bit images, got {image.dtype}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # Pillow's, for how clean-fid calls it
        return torch.from_numpy(_resized(image.permute(1, 2, 0).numpy())).permute(2, 0, 1)
