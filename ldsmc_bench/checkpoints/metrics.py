"""Other people's networks of metrics, whose weights are fetched.

LPIPS (Zhang et al. 2018) by its authors' package, and clean-fid's features for FID and KID: Inception-v3 as
TorchScript, of images resized as clean-fid does.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

import lpips
import numpy as np
import torch
from cleanfid.inception_torchscript import InceptionV3W
from cleanfid.resize import build_resizer
from torch import Tensor, nn

from ldsmc_bench.checkpoints.convert import strip_prefix
from ldsmc_bench.errors import UserError
from ldsmc_bench.scoring.fetched import digest_of
from ldsmc_bench.scoring.paired import ImageMetric, unit_range
from ldsmc_bench.scoring.reference import FeatureSpace

DIMENSION = 2048
BATCH = 16

_resize: Callable[[np.ndarray], np.ndarray] = build_resizer("clean")


@contextmanager
def full_float32() -> Iterator[None]:
    """Inside, the metrics' networks compute in full float32: a sampler's TF32 is not for them."""
    matmul, convolution = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, convolution


def _lpips(net: Literal["vgg", "alex"], file: Path, device: torch.device) -> ImageMetric:
    network = load_lpips(net, file).to(device)
    return lambda image, truth: float(lpips_distance(network, unit_range(image), unit_range(truth)))


lpips_vgg, lpips_alex = partial(_lpips, "vgg"), partial(_lpips, "alex")


def load_lpips(net: Literal["vgg", "alex"], path: Path) -> lpips.LPIPS:
    """The package's network, version 0.1, frozen: its own linear weights on top of torchvision's `path`.

    The package would download the latter; so it is built with random weights, which are then replaced. Raises UserError
    where `path` is not a state dict of that network.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(pretrained|weights).*")  # torchvision's old way to ask for none
        network = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        for part in network.net.children():  # slices of torchvision's `features`, whose numbers they keep
            for number, layer in part.named_children():
                layer.load_state_dict(strip_prefix(f"features.{number}.", weights))
    except Exception as error:
        line = (str(error).splitlines() or [type(error).__name__])[-1].strip()
        raise UserError(
            f"{path}: not torchvision's weights of this network ({line}): "
            f"python -m ldsmc_bench fetch metric=lpips_{net} --force"
        ) from error
    return network.eval().requires_grad_(False)


@torch.no_grad()
def lpips_distance(network: nn.Module, x: Tensor, reference: Tensor) -> Tensor:
    """The distance (B,) between images (B,3,H,W) in [0,1]. Raises ValueError for any other range."""
    for images in (x, reference):
        if not (images.min() >= 0 and images.max() <= 1):  # written so that NaN fails too
            raise ValueError(f"LPIPS takes images in [0, 1], got {float(images.min()):g} to {float(images.max()):g}")
    device = next(network.parameters()).device
    with full_float32():
        return network(x.to(device), reference.to(device), normalize=True).flatten().cpu()


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
            f"{path}: not the scripted Inception network ({line}): python -m ldsmc_bench fetch metric=inception --force"
        ) from error


def inception_space(file: Path, device: torch.device) -> FeatureSpace:
    """clean-fid's features of images of any size, for FID and KID. Raises UserError where `file` is not the network."""
    features = partial(inception_features, load_inception(file, device))
    return FeatureSpace("fid_clean", "kid_clean", DIMENSION, str(digest_of("fid_clean")), features)


@torch.no_grad()
def inception_features(network: nn.Module, images: Iterable[Tensor]) -> np.ndarray:
    """Features (n, 2048), float64, of uint8 images (3,S,S), one after another."""
    device = next(network.parameters()).device
    found, waiting = [], map(resize, images)
    with full_float32():
        while batch := list(islice(waiting, BATCH)):
            found.append(network(torch.stack(batch).to(device)).cpu().double())
    return torch.cat(found).numpy() if found else np.empty((0, DIMENSION))


def resize(image: Tensor) -> Tensor:
    """A uint8 image (3,S,S) as float32 (3,299,299) in 0..255: bicubic, antialiased, not rounded."""
    if image.dtype != torch.uint8:
        raise TypeError(f"metrics are computed from 8-bit images, got {image.dtype}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # Pillow's, for how clean-fid calls it
        return torch.from_numpy(_resize(image.permute(1, 2, 0).numpy())).permute(2, 0, 1)
