"""LPIPS (Zhang et al. 2018) by its authors' package: `lpips_vgg`, `lpips_alex`; the networks' weights are fetched."""

import warnings
from pathlib import Path
from typing import Literal

import lpips
import torch
from torch import Tensor, nn

from ldsmc_bench.errors import UserError
from ldsmc_bench.scoring.fetched import full_float32


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
                layer.load_state_dict(_below(weights, f"features.{number}."))
    except Exception as error:
        line = (str(error).splitlines() or [type(error).__name__])[-1].strip()
        raise UserError(
            f"{path}: not torchvision's weights of this network ({line}): "
            f"python -m ldsmc_bench.fetch metric=lpips_{net} --force"
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


def _below(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
