"""Latent diffusion models of CompVis: unconditional (FFHQ, CelebA-HQ), of classes (ImageNet), or of texts (Stable
Diffusion v1, which may be a diffusers folder instead)."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ldsmc_bench.checkpoints import stable_diffusion
from ldsmc_bench.checkpoints.autoencoder import KlShape, VqShape
from ldsmc_bench.checkpoints.cache import known_digest, require_bool, require_file, require_size, weights_folder
from ldsmc_bench.checkpoints.clip import EMPTY, TextShape, tokenize
from ldsmc_bench.checkpoints.config import ForeignConfig
from ldsmc_bench.checkpoints.convert import convert_networks, load_networks, random_networks, strip_prefix
from ldsmc_bench.checkpoints.latent import LatentPrior
from ldsmc_bench.checkpoints.model import ClassShape, Model, assemble
from ldsmc_bench.checkpoints.read import read_weights
from ldsmc_bench.checkpoints.unet import SpatialUnetShape, UnetShape
from ldsmc_bench.errors import UserError
from ldsmc_bench.prior.digests import digest_of, random_digest

_VQ_F4 = VqShape(width=128, mult=(1, 2, 4), res_blocks=2, z_channels=3, codes=8192, code_channels=3)
# CompVis/latent-diffusion, models/ldm/{ffhq256,celeba256}/config.yaml: the published archives hold weights alone
_FFHQ_UNET = UnetShape(3, 3, width=224, mult=(1, 2, 3, 4), res_blocks=2, attention_at=(8, 4, 2), head_channels=32)
FFHQ = Model(_FFHQ_UNET, _VQ_F4, conditioner=None, image_size=256)
# CompVis/latent-diffusion, configs/latent-diffusion/cin256-v2.yaml; `num_heads: 1`, which no weight would contradict
_CIN256_UNET = SpatialUnetShape(
    3, 3, width=192, mult=(1, 2, 3, 5), res_blocks=2, attention_at=(8, 4, 2), heads=(1, 1, 1, 1), context_channels=512
)
CIN256 = Model(_CIN256_UNET, _VQ_F4, ClassShape(classes=1001, channels=512), image_size=256)
# CompVis/stable-diffusion, configs/stable-diffusion/v1-inference.yaml
_SD15_UNET = SpatialUnetShape(
    4, 4, width=320, mult=(1, 2, 4, 4), res_blocks=2, attention_at=(4, 2, 1), heads=(8, 8, 8, 8), context_channels=768
)
_KL_F8 = KlShape(width=128, mult=(1, 2, 4, 4), res_blocks=2, z_channels=4)
SD15 = Model(_SD15_UNET, _KL_F8, TextShape(), image_size=512, scale=0.18215, beta_start=0.00085, beta_end=0.012)
PUBLISHED = {"faces": FFHQ, "cin256": CIN256, "sd15": SD15}
# The names under which a checkpoint may be in a folder; the first that is there is read.
_NAMES = ("model", "v1-5-pruned-emaonly", "v1-5-pruned")
FILES: dict[str, tuple[str, ...]] = dict.fromkeys(PUBLISHED, ("model.ckpt",))
FILES["sd15"] = tuple(f"{name}.{kind}" for name in _NAMES for kind in ("safetensors", "ckpt"))

RAW, EMA, FIRST_STAGE = "model.diffusion_model.", "model_ema.diffusion_model", "first_stage_model."
CLASSES, TEXT = "cond_stage_model.embedding.", "cond_stage_model.transformer.text_model."
# Keys of a file that no network needs: the schedule, and counters of training.
_UNNEEDED = (
    "betas alphas_cumprod alphas_cumprod_prev sqrt_alphas_cumprod sqrt_one_minus_alphas_cumprod "
    "log_one_minus_alphas_cumprod sqrt_recip_alphas_cumprod sqrt_recipm1_alphas_cumprod posterior_variance "
    "posterior_log_variance_clipped posterior_mean_coef1 posterior_mean_coef2 logvar model_ema.decay "
    f"model_ema.num_updates {TEXT}embeddings.position_ids"
).split()


def load(
    path: str | Path | None,
    ema: bool = True,
    guidance_scale: float = 1.0,
    published: str = "faces",
    name: str = "",
    image_size: int | None = None,
    random_weights: bool = False,
    prompt: str = "",
) -> LatentPrior:
    """The prior of the checkpoint at `path`, a folder with it or its own path, as config.yaml beside it describes it;
    without one, as `published`. `sd15` may be a diffusers folder. Without a path, it is where the fetch command puts
    the prior `name`.

    `ema`: the running average of the UNet's weights (`model_ema.*`), as CompVis' scripts and PSLD sample; without it
    the raw training weights (`model.*`), as the public code of LD-SMC, ReSample and DAPS does. `guidance_scale`: 1 is
    the conditional model as it is; with a text, guidance is away from the empty prompt. A model of texts takes any
    `image_size`, a multiple of 64 for the published one.
    Raises UserError where a file is absent or unreadable, the config asks for what this layout has not, the weights are
    not exactly those of the config, or images are not of `image_size`.
    """
    require_bool(ema=ema, random_weights=random_weights)
    if type(guidance_scale) not in (int, float) or not guidance_scale >= 0:
        raise UserError(f"prior.guidance_scale={guidance_scale}: must be a number from 0 on; 1 is without guidance")
    place = Path(path).expanduser() if path else weights_folder(name)
    model, tokens = describe(place, published), EMPTY
    if isinstance(model.conditioner, TextShape):
        model = replace(model, image_size=image_size or model.image_size)
        tokens = tokenize(prompt, place.parent if place.is_file() else place)
    require_size(image_size, model.image_size, place)
    settings = model.settings(guidance_scale, tokens)
    if random_weights:
        networks, digest = random_networks(name, model.shapes), random_digest(**settings)
    else:
        if is_diffusers(place, published):
            networks, files = stable_diffusion.read_networks(place, model, ema)
        else:
            if not place.is_file():
                require_file(place, name, *FILES[published])
            files = [checkpoint_in(place, published)]
            networks = read_networks(files[0], model, ema)
        digests = [known_digest(file) for file in files]
        weights = digests if isinstance(model.conditioner, TextShape) else digests[0]
        digest = digest_of(**settings, ema=ema, weights=weights)
    return assemble(model, networks, digest, guidance_scale, tokens)


def describe(place: str | Path, published: str = "faces") -> Model:
    """The model that the configuration at `place` describes; without one, the `published` one."""
    place, model = Path(place), PUBLISHED[published]
    if is_diffusers(place, published):
        return stable_diffusion.describe(place)
    config = (place.parent if place.is_file() else place) / "config.yaml"
    return read_config(config, conditional=model.conditioner is not None) if config.exists() else model


def is_diffusers(place: Path, published: str = "sd15") -> bool:
    """True if `place` is a folder in diffusers' layout, and may be one."""
    return published == "sd15" and (place / "unet").is_dir()


def checkpoint_in(place: Path, published: str = "sd15") -> Path:
    """The checkpoint at `place`: that file itself, or in a folder the first of the published names that is there."""
    if place.is_file():
        return place
    found = [place / name for name in FILES[published] if (place / name).exists()]
    return found[0] if found else place / FILES[published][0]


def published_kind(keys: Collection[str]) -> str:
    """The published model whose kind a checkpoint with these keys is of: with texts, with classes, or without both."""
    kinds = {"sd15": TEXT, "cin256": CLASSES}
    return next((kind for kind, prefix in kinds.items() if any(key.startswith(prefix) for key in keys)), "faces")


def read_networks(path: Path, model: Model, ema: bool) -> dict[str, nn.Module]:
    """The networks of the checkpoint at `path`, `.ckpt` or `.safetensors`: unet, first_stage and conditioner; frozen.

    `ema`: the UNet's averaged weights. A conditional model may be published with one copy, which is then read. Raises
    UserError where the file is absent or unreadable, or not exactly of `model`.
    """

    def convert(networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
        weights = read_weights(path)
        averaged = ema and any(key.startswith(EMA) for key in weights)
        if ema and not averaged and model.conditioner is None:
            raise UserError(f"{path}: holds no averaged weights (model_ema.*); set prior.ema=false")
        others = (RAW if averaged else EMA, f"{FIRST_STAGE}loss.")  # the other copy, and a loss of training
        unneeded = {key for key in weights if key.startswith(others)} | set(_UNNEEDED)
        found = convert_networks(networks, model.shapes, file_keys(model, averaged), weights, path, unneeded)
        stored, ours = weights.get("alphas_cumprod"), model.alpha_bar()  # a guard against the config of another model
        if stored is not None and not (
            stored.shape == ours.shape and torch.allclose(stored.double(), ours, rtol=1e-4, atol=1e-7)
        ):
            raise UserError(
                f"{path}: alphas_cumprod is not that of the config's linear_start and linear_end; use its config"
            )
        return found

    return load_networks(path, model.shapes, digest_of("compvis", model=model.identity(), ema=ema), convert)


def file_keys(model: Model, averaged: bool) -> dict[str, Callable[[str], str]]:
    """The key in the file for one of each network; `averaged`: the UNet's other copy, whose keys have no dots."""
    return {
        "unet": (lambda key: EMA + key.replace(".", "")) if averaged else RAW.__add__,
        "first_stage": FIRST_STAGE.__add__,
        "conditioner": (TEXT if isinstance(model.conditioner, TextShape) else CLASSES).__add__,
    }


_UNET, _STAGE, _CONDITION = (f"{part}_config.params." for part in ("unet", "first_stage", "cond_stage"))
_KL, _TEXT = "ldm.models.autoencoder.AutoencoderKL", "ldm.modules.encoders.modules.FrozenCLIPEmbedder"


def read_config(path: Path, conditional: bool) -> Model:
    """The model that a CompVis `config.yaml` describes. Unconditional ones were published with a codebook only.

    Raises UserError naming the first key that is absent, not known, or asks for another kind of network.
    """
    ForeignConfig(path, "model.").read("model")
    config = ForeignConfig(path, "model.params.")
    kl = conditional and config.get("first_stage_config.target") == _KL
    texts = conditional and config.get("cond_stage_config.target") == _TEXT
    counted = config.get(f"{_UNET}num_head_channels") in (None, -1)  # heads are given by their number
    families = ["heads by their number" if counted else "heads by their channels", "texts" if texts else "classes"]
    families = ["conditional", *families] if conditional else ["unconditional"]
    found = config.read("compvis", "kl" if kl else "vq", *families)
    unet, stage, levels = (strip_prefix(prefix, found) for prefix in (_UNET, _STAGE, f"{_STAGE}ddconfig."))

    names = {"ch": "width", "ch_mult": "mult", "num_res_blocks": "res_blocks", "z_channels": "z_channels"}
    shape: dict[str, Any] = {ours: levels[theirs] for theirs, ours in names.items()}
    first_stage = KlShape(**shape) if kl else VqShape(**shape, codes=stage["n_embed"], code_channels=stage["embed_dim"])
    channels, halving = first_stage.latent_channels, 2**first_stage.halvings
    for key in (f"{_UNET}in_channels", f"{_UNET}out_channels", "channels", *[f"{_STAGE}embed_dim"] * kl):
        config.expect(found[key] in (channels, None), key, f"but the latents have {channels} channels")
    ordered = found["linear_start"] <= found["linear_end"] < 1
    config.expect(ordered, "linear_end", "but must lie from linear_start on and below 1")

    names = {"in_channels": "channels_in", "out_channels": "channels_out", "model_channels": "width"}
    names |= {"channel_mult": "mult", "num_res_blocks": "res_blocks", "attention_resolutions": "attention_at"}
    shape = {ours: unet[theirs] for theirs, ours in names.items()}
    denoiser: UnetShape | SpatialUnetShape
    conditioner: ClassShape | TextShape | None = None
    if conditional:
        widths = [shape["width"] * mult for mult in shape["mult"]]
        key = f"{_UNET}{'num_heads' if counted else 'num_head_channels'}"
        config.expect(not any(width % found[key] for width in widths), key, "but must divide the width of every level")
        heads = tuple(found[key] if counted else width // found[key] for width in widths)
        context, depth = unet["context_dim"], unet["transformer_depth"]
        denoiser = SpatialUnetShape(**shape, heads=heads, depth=depth, context_channels=context)
        if texts:  # CLIP's, with heads of 64 channels like all that were published: the config says no more
            text_heads = max(1, context // 64)
            config.expect(
                context % text_heads == 0, f"{_UNET}context_dim", f"but must be a multiple of {text_heads} here"
            )
            conditioner = TextShape(width=context, heads=text_heads)
        else:
            key = f"{_CONDITION}embed_dim"
            config.expect(found[key] == context, key, f"but the UNet's context_dim is {context}")
            conditioner = ClassShape(found[f"{_CONDITION}n_classes"], context)
        image_size = found["image_size"] * halving
    else:
        denoiser, image_size = UnetShape(**shape, head_channels=unet["num_head_channels"]), levels["resolution"]
        unit, side = 2**denoiser.halvings * halving, image_size // halving
        config.expect(image_size % unit == 0, f"{_STAGE}ddconfig.resolution", f"but must be a multiple of {unit} here")
        config.expect(found["image_size"] in (side, None), "image_size", f"but the latents have {side}")
    schedule = {"steps": found["timesteps"], "beta_start": found["linear_start"], "beta_end": found["linear_end"]}
    return Model(denoiser, first_stage, conditioner, image_size, scale=found["scale_factor"], **schedule)
