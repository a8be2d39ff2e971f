"""Stable Diffusion v1: a latent diffusion model conditioned on a prompt, in CompVis' layout or diffusers'."""

import hashlib
from dataclasses import replace
from pathlib import Path

from ldsmc_bench.prior import compvis_conditional, diffusers_folder
from ldsmc_bench.prior.cache import known_digest
from ldsmc_bench.prior.clip_text import TextShape
from ldsmc_bench.prior.clip_tokens import tokens_of
from ldsmc_bench.prior.compvis_kl import KlShape
from ldsmc_bench.prior.conditional import ConditionalPrior
from ldsmc_bench.prior.conditional_model import Model, assembled, builders, expect_scale
from ldsmc_bench.prior.published import expect_switches, folder_of, holding
from ldsmc_bench.prior.random_weights import marked, randomised, warn
from ldsmc_bench.prior.spatial_unet import SpatialUnetShape

# CompVis/stable-diffusion, configs/stable-diffusion/v1-inference.yaml
SD15 = Model(
    unet=SpatialUnetShape(
        channels_in=4,
        channels_out=4,
        width=320,
        mult=(1, 2, 4, 4),
        res_blocks=2,
        attention_at=(4, 2, 1),
        heads=(8, 8, 8, 8),
        depth=1,
        context_channels=768,
    ),
    first_stage=KlShape(width=128, mult=(1, 2, 4, 4), res_blocks=2, z_channels=4),
    conditioner=TextShape(),
    image_size=512,
    scale=0.18215,
    beta_start=0.00085,
    beta_end=0.012,
)
_FILES = tuple(
    f"{name}.{kind}" for name in ("model", "v1-5-pruned-emaonly", "v1-5-pruned") for kind in ("safetensors", "ckpt")
)


def load(
    place: Path, image_size: int | None = None, ema: bool = True, prompt: str = "", guidance_scale: float = 1.0
) -> ConditionalPrior:
    """The prior of a CompVis checkpoint (`.ckpt`, `.safetensors`), of a folder with one, or of a diffusers folder.

    config.yaml beside a checkpoint describes it; without one it is as published. `image_size`: other than the one that
    it was trained for, since every layer takes any size; a multiple of 64. `ema`: the UNet's averaged weights where
    there are both copies. `prompt`: another than the empty one needs CLIP's vocab.json and merges.txt beside the
    weights or in tokenizer/ there. Encoding gives the posterior's mean, so that nothing is random (`KlCodec.encode`).
    Raises UserError where a file is absent or unreadable, the config asks for what this layout has not, or the weights
    are not exactly those of the config.
    """
    model = replace(described(place), image_size=image_size) if image_size else described(place)
    if _of_diffusers(place):
        sources, folder = list(diffusers_folder.files(place, ema).values()), place
        networks = diffusers_folder.networks(place, model, ema)
    else:
        path = checkpoint_in(place)
        sources, folder = [path], path.parent
        networks = compvis_conditional.networks(path, model, ema)
    tokens = tokens_of(prompt, folder)
    contents = [known_digest(source) for source in sources]
    digest = hashlib.sha256(f"{contents} {model} {ema} {tokens} {guidance_scale}".encode()).hexdigest()
    return assembled(model, networks, digest, guidance_scale, tokens)


def described(place: Path) -> Model:
    """The model that the configuration at `place` describes; without one, the published one."""
    if _of_diffusers(place):
        return diffusers_folder.described(place)
    config = (place if place.is_dir() else place.parent) / "config.yaml"
    return compvis_conditional.read_config(config) if config.exists() else SD15


def prior(
    name: str,
    image_size: int,
    path: str | None,
    ema: bool,
    prompt: str,
    guidance_scale: float,
    random_weights: bool = False,
) -> ConditionalPrior:
    """The prior that `conf/prior/sd15.yaml` asks for.

    `path` is a checkpoint or a folder as in `load`, or None for the folder where the fetch command puts it;
    `random_weights`: the same networks without any file, announced on stderr and never scored; the rest as in `load`.
    Raises UserError where the weights are absent or not this prior's, or for a prompt without a vocabulary.
    """
    expect_switches(ema=ema, random_weights=random_weights)
    expect_scale(guidance_scale)
    place = folder_of(name, path)
    if random_weights:
        model = replace(described(place), image_size=image_size)
        tokens = tokens_of(prompt, place)
        made = {part: randomised(build) for part, build in builders(model).items()}
        warn(name)
        return assembled(model, made, marked(f"{model} {tokens} {guidance_scale}"), guidance_scale, tokens)
    if not (place.is_file() or _of_diffusers(place)):
        holding(place, name, *_FILES)
    return load(place, image_size, ema, prompt, guidance_scale)


def _of_diffusers(place: Path) -> bool:
    return (place / "unet").is_dir()


def checkpoint_in(place: Path) -> Path:
    """The checkpoint at `place`: that file itself, or in a folder the first of the published names that is there."""
    if not place.is_dir():
        return place
    return next((place / name for name in _FILES if (place / name).exists()), place / _FILES[0])
