"""The latent prior: a noise-predicting UNet in the latent space of a VQ autoencoder."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
from diffusers.models.autoencoders.vq_model import VQModel
from diffusers.models.unets.unet_2d import UNet2DModel
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from ldsmc_bench.errors import UserError
from ldsmc_bench.prior import networks, schedule

ASSETS = Path(__file__).parent.parent / "assets"
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class LatentPrior:
    """A latent diffusion model (Rombach et al. 2022) with a VQ first stage; `scale` multiplies the encoder's output."""

    unet: UNet2DModel
    vq: VQModel
    codebook: Tensor  # (K,C); apart from `vq`, since it keeps full precision where the networks do not
    alpha_bar: Tensor
    scale: float
    shape: tuple[int, int, int]
    image_size: int
    digest: str

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """The same prior with its networks on `device` in `dtype`; the codebook stays at float32 or better."""
        return replace(
            self,
            unet=_placed(self.unet, device, dtype),
            vq=_placed(self.vq, device, dtype),
            codebook=self.codebook.to(device, torch.promote_types(dtype, torch.float32)),
        )

    def eps(self, z: Tensor, t: Tensor) -> Tensor:
        return self.unet(z.to(self.unet.dtype), t, return_dict=False)[0].to(z.dtype)

    def encode(self, x: Tensor) -> Tensor:
        return self.vq.encode(x.to(self.vq.dtype), return_dict=False)[0].to(x.dtype) * self.scale

    def decode(self, z: Tensor) -> Tensor:
        """Quantises first, with the straight-through gradient, as every decode of the public samplers does."""
        latent = networks.quantise(self.codebook, z / self.scale)
        return self.vq.decode(latent.to(self.vq.dtype), force_not_quantize=True, return_dict=False)[0].to(z.dtype)


def _placed(network: M, device: torch.device, dtype: torch.dtype) -> M:
    return nn.Module.to(network, device=device, dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]


def toyfaces() -> LatentPrior:
    """The embedded prior: drawn faces at 64x64, trained by `python -m ldsmc_bench.prior.train`."""
    vq, scale = toyfaces_autoencoder()
    unet = load(networks.latent_unet(), ASSETS / "toyfaces_latent.safetensors")
    files = [ASSETS / f"toyfaces_{name}.safetensors" for name in ("autoencoder", "latent")]
    return LatentPrior(
        unet=unet,
        vq=vq,
        codebook=vq.quantize.embedding.weight.detach().clone(),
        alpha_bar=schedule.scaled_linear(),
        scale=scale,
        shape=(3, 16, 16),
        image_size=64,
        digest=hashlib.sha256("".join(map(digest, files)).encode()).hexdigest(),
    )


def toyfaces_autoencoder() -> tuple[VQModel, float]:
    """The embedded VQ-f4 autoencoder and its latent scale."""
    path = ASSETS / "toyfaces_autoencoder.safetensors"
    return load(networks.autoencoder(), path), float(made(path)["scale"])


def load(module: M, path: Path) -> M:
    """Fill `module` with the weights of a safetensors file; frozen, ready for evaluation.

    Raises UserError where the file is missing or does not hold exactly the weights of this network.
    """
    check_digest(path)
    try:
        module.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    except Exception as error:
        raise UserError(f"{path}: not the weights of this network: {str(error).splitlines()[-1].strip()}") from error
    return module.eval().requires_grad_(False)


def made(path: Path) -> dict[str, Any]:
    """How the weights in `path` came about: command, seed, minutes, machine."""
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["made"])


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_digest(path: Path) -> None:
    """Compare a shipped file with `digests.json` beside it.

    Raises UserError where the file is missing or is not the one that was shipped.
    """
    listed = path.parent / "digests.json"
    expected = json.loads(listed.read_text()).get(path.name) if listed.exists() else None
    if not path.exists():
        raise UserError(f"{path}: weights are missing; restore the file from the repository")
    if expected is not None and digest(path) != expected:
        raise UserError(f"{path}: SHA-256 differs from the one in {listed.name}; restore the file from the repository")
