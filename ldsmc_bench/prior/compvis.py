"""Latent diffusion models in CompVis' layout: VQ first stage, unconditional UNet (FFHQ, CelebA-HQ)."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from diffusers.models.autoencoders.vq_model import VQModel
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.prior import adm_unet, compvis_file, compvis_vq, schedule
from ldsmc_bench.prior.cache import converted, known_digest
from ldsmc_bench.prior.foreign_config import read_foreign_config
from ldsmc_bench.prior.latent import LatentPrior
from ldsmc_bench.prior.transplant import below, filled, moved, refuse_leftovers
from ldsmc_bench.prior.unpickle import read_checkpoint


@dataclass(frozen=True)
class Model:
    """A latent diffusion model but for its weights."""

    unet: adm_unet.UnetShape
    vq: compvis_vq.VqShape
    image_size: int
    scale: float = 1.0  # of latents, after the encoder
    steps: int = 1000
    beta_start: float = 0.0015
    beta_end: float = 0.0195

    def alpha_bar(self) -> Tensor:
        return schedule.scaled_linear(self.steps, self.beta_start, self.beta_end)


# CompVis/latent-diffusion, models/ldm/{ffhq256,celeba256}/config.yaml: the published archives hold weights alone
FFHQ = Model(
    unet=adm_unet.UnetShape(
        channels_in=3,
        channels_out=3,
        width=224,
        mult=(1, 2, 3, 4),
        res_blocks=2,
        attention_at=(8, 4, 2),
        head_channels=32,
    ),
    vq=compvis_vq.VqShape(width=128, mult=(1, 2, 4), res_blocks=2, z_channels=3, codes=8192, code_channels=3),
    image_size=256,
)


def load(folder: str | Path, ema: bool = True) -> LatentPrior:
    """The prior of `folder`/model.ckpt, as config.yaml beside it describes it; without one, as published for FFHQ.

    `ema`: the running average of the UNet's weights (`model_ema.*`), as CompVis' scripts and PSLD sample; without it
    the raw training weights (`model.*`), as the public code of LD-SMC, ReSample and DAPS does. Converted once, then
    memory-mapped from the cache.
    Raises UserError where a file is absent or unreadable, the config asks for what this layout has not, or the weights
    are not exactly those of the config.
    """
    path, model = Path(folder) / "model.ckpt", described(folder)
    state = converted(path, f"compvis {model} ema={ema}", lambda: _convert(path, model, ema))
    unet = filled(lambda: adm_unet.build(model.unet), below("unet.", state))
    vq = filled(lambda: compvis_vq.build(model.vq), below("vq.", state))
    return assembled(model, unet, vq, hashlib.sha256(f"{known_digest(path)} {model} {ema}".encode()).hexdigest())


def described(folder: str | Path) -> Model:
    """The model that config.yaml in `folder` describes; without one, that published for FFHQ and CelebA-HQ."""
    config = Path(folder) / "config.yaml"
    return read_config(config) if config.exists() else FFHQ


def assembled(model: Model, unet: UNet2DModel, vq: VQModel, digest: str) -> LatentPrior:
    """The prior of `model` with these networks."""
    latent_size = model.image_size // 2 ** (len(model.vq.mult) - 1)
    return LatentPrior(
        unet=unet,
        vq=vq,
        codebook=vq.quantize.embedding.weight.detach().clone(),
        alpha_bar=model.alpha_bar(),
        scale=model.scale,
        shape=(model.vq.code_channels, latent_size, latent_size),
        image_size=model.image_size,
        digest=digest,
    )


def _convert(path: Path, model: Model, ema: bool) -> dict[str, Tensor]:
    """The weights of a checkpoint under our networks' keys, each network's below its name; every one, or UserError."""
    weights = read_checkpoint(path)
    if ema and not compvis_file.has_average(weights):
        raise UserError(f"{path}: holds no averaged weights (model_ema.*); set prior.ema=false")
    unet_origins = adm_unet.origins(model.unet, compvis_file.unet_key(ema))
    vq_origins = compvis_vq.origins(model.vq, compvis_file.FIRST_STAGE)
    unet = moved(lambda: adm_unet.build(model.unet), unet_origins, weights, path)
    vq = moved(lambda: compvis_vq.build(model.vq), vq_origins, weights, path)
    used = {origin.key for origin in (*unet_origins.values(), *vq_origins.values())}
    refuse_leftovers(weights, used | {key for key in weights if compvis_file.unneeded(key, ema)}, path)
    compvis_file.check_schedule(model.alpha_bar(), weights, path)
    return {f"unet.{key}": tensor for key, tensor in unet.items()} | {f"vq.{key}": t for key, t in vq.items()}


def read_config(path: Path) -> Model:
    """The model that a CompVis `config.yaml` describes.

    Raises UserError naming the first key that is absent or asks for another kind of network.
    """
    config = read_foreign_config(path, root="model.params.")
    unet = "unet_config.params"
    config.expect("cond_stage_config", "__is_unconditional__")
    config.expect("beta_schedule", "linear", default="linear")
    config.expect("scale_by_std", False, default=False)
    config.expect("unet_config.target", "ldm.modules.diffusionmodules.openaimodel.UNetModel")
    for flag in ("use_spatial_transformer", "use_scale_shift_norm", "resblock_updown", "use_new_attention_order"):
        config.expect(f"{unet}.{flag}", False, default=False)
    config.expect(f"{unet}.channel_mult[0]", 1)
    return Model(
        unet=adm_unet.UnetShape(
            channels_in=config.count(f"{unet}.in_channels"),
            channels_out=config.count(f"{unet}.out_channels"),
            width=config.count(f"{unet}.model_channels"),
            mult=config.counts(f"{unet}.channel_mult"),
            res_blocks=config.count(f"{unet}.num_res_blocks"),
            attention_at=config.counts(f"{unet}.attention_resolutions"),
            head_channels=config.count(f"{unet}.num_head_channels"),
        ),
        vq=compvis_vq.read_shape(config),
        image_size=config.count("first_stage_config.params.ddconfig.resolution"),
        scale=config.number("scale_factor", 1.0),
        steps=config.count("timesteps", 1000),
        beta_start=config.number("linear_start", 1e-4),
        beta_end=config.number("linear_end", 2e-2),
    )
