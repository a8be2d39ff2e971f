"""The class-conditional latent diffusion model of ImageNet: CompVis/latent-diffusion, `cin256-v2`."""

import hashlib
from pathlib import Path

from ldsmc_bench.prior.cache import known_digest
from ldsmc_bench.prior.compvis_conditional import networks, read_config
from ldsmc_bench.prior.compvis_vq import VqShape
from ldsmc_bench.prior.conditional import ConditionalPrior
from ldsmc_bench.prior.conditional_model import ClassShape, Model, assembled, builders, expect_scale
from ldsmc_bench.prior.published import expect_size, expect_switches, folder_of, holding
from ldsmc_bench.prior.random_weights import marked, randomised, warn
from ldsmc_bench.prior.spatial_unet import SpatialUnetShape

# CompVis/latent-diffusion, configs/latent-diffusion/cin256-v2.yaml; `num_heads: 1`, which no weight would contradict
CIN256 = Model(
    unet=SpatialUnetShape(
        channels_in=3,
        channels_out=3,
        width=192,
        mult=(1, 2, 3, 5),
        res_blocks=2,
        attention_at=(8, 4, 2),
        heads=(1, 1, 1, 1),
        depth=1,
        context_channels=512,
    ),
    first_stage=VqShape(width=128, mult=(1, 2, 4), res_blocks=2, z_channels=3, codes=8192, code_channels=3),
    conditioner=ClassShape(classes=1001, channels=512),
    image_size=256,
)


def load(folder: Path, ema: bool = True, guidance_scale: float = 1.0) -> ConditionalPrior:
    """The prior of `folder`/model.ckpt, as config.yaml beside it describes it; without one, as published.

    `ema`: the UNet's averaged weights where the file has both copies. `guidance_scale`: 1 is the conditional model as
    it is. Raises UserError where a file is absent or unreadable, the config asks for what this layout has not, or the
    weights are not exactly those of the config.
    """
    path, model = folder / "model.ckpt", described(folder)
    digest = hashlib.sha256(f"{known_digest(path)} {model} {ema} {guidance_scale}".encode()).hexdigest()
    return assembled(model, networks(path, model, ema), digest, guidance_scale)


def described(folder: Path) -> Model:
    """The model that config.yaml in `folder` describes; without one, the published one."""
    config = folder / "config.yaml"
    return read_config(config) if config.exists() else CIN256


def prior(
    name: str, image_size: int, path: str | None, ema: bool, guidance_scale: float, random_weights: bool = False
) -> ConditionalPrior:
    """The prior that `conf/prior/ldm_imagenet.yaml` asks for.

    `path` is the folder with model.ckpt, or None for the one where the fetch command puts it; `random_weights`: the
    same networks without any file, announced on stderr and never scored; the rest as in `load`.
    Raises UserError where the checkpoint is absent or is not this prior's, or its images are not of `image_size`.
    """
    expect_switches(ema=ema, random_weights=random_weights)
    expect_scale(guidance_scale)
    folder = folder_of(name, path)
    if random_weights:
        model = described(folder)
        made = {part: randomised(build) for part, build in builders(model).items()}
        found = assembled(model, made, marked(f"{model} {guidance_scale}"), guidance_scale)
        warn(name)
    else:
        found = load(holding(folder, name, "model.ckpt"), ema, guidance_scale)
    expect_size(image_size, found.image_size, folder)
    return found
