"""Any pipeline that diffusers saved in a folder as a prior: DDPM, LDM, Stable Diffusion 1, 2, XL and 3, FLUX.

diffusers builds and reads its own networks. Settings are read strictly: a key that the class does not take, or one that
asks for more than latents, a time and a text, is refused in one line.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.vq_model import VQModel
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from ldsmc_bench.checkpoints import prompts
from ldsmc_bench.checkpoints.cache import known_digest
from ldsmc_bench.checkpoints.clip import require_text
from ldsmc_bench.checkpoints.config import REMEDY, tables
from ldsmc_bench.checkpoints.diffusers_folder import (
    find_weights,
    from_pretrained,
    read_settings,
    require_weights,
    try_network,
)
from ldsmc_bench.checkpoints.levels import Levels, read_levels
from ldsmc_bench.checkpoints.network_prior import (
    Call,
    Condition,
    NetworkPrior,
    cross_attending,
    joint,
    network_input,
    packed,
    plain,
)
from ldsmc_bench.errors import UserError
from ldsmc_bench.prior.codec import wrap_autoencoder
from ldsmc_bench.prior.digests import digest_of

# The pipelines that encode texts, with the network that goes with each; others have UNet2DModel.
TEXTS: dict[str, tuple[Any, Call]] = {
    "StableDiffusionPipeline": (UNet2DConditionModel, cross_attending),
    "StableDiffusionXLPipeline": (UNet2DConditionModel, cross_attending),
    "StableDiffusion3Pipeline": (SD3Transformer2DModel, joint),
    "FluxPipeline": (FluxTransformer2DModel, packed),
}
PIPELINES = ("DDPMPipeline", "DDIMPipeline", "PNDMPipeline", "LDMPipeline", *TEXTS)
CODECS = ("vae", "vqvae")
PARTS = (*CODECS, "unet", "transformer", "scheduler", "text_encoder", "tokenizer")  # that are read
TRAINED = 128  # latents on a side where a network's settings do not say, as diffusers' pipelines have it


@dataclass(frozen=True)
class Part:
    """A network of a folder: its place, diffusers' class, the arguments in its file, and itself without weights."""

    folder: Path
    kind: Any
    settings: dict[str, Any]
    network: Any

    @property
    def file(self) -> Path:
        return self.folder / "config.json"

    @property
    def trained(self) -> tuple[int, int]:
        """Height and width of what a denoiser was trained for."""
        side = self.network.config.get("sample_size") or TRAINED
        return (side, side) if isinstance(side, int) else tuple(side)


def load(
    path: str | None,
    image_size: int | Sequence[int] | None = None,
    prompt: str = "",
    guidance_scale: float = 1.0,
    channels: int = 3,
) -> NetworkPrior:
    """The prior of the pipeline in the folder `path`, for images of `image_size` pixels, or of (height, width), and so
    many `channels`.

    `guidance_scale`: 1 is the model as it is; with a prompt, guidance is away from none. A FLUX that was distilled with
    guidance is given it as a number. Raises UserError where a file is absent or unreadable, a setting is not known, the
    weights are not exactly those of the settings, or the networks do not take images of this size.
    """
    folder, index = _folder(path), _read_index(path)
    _require_parts(folder, index)
    kind, call = TEXTS.get(index["_class_name"], (UNet2DModel, plain))
    denoiser = _describe(folder, "transformer" if (folder / "transformer").is_dir() else "unet", [kind])
    named = [part for part in CODECS if (folder / part).is_dir()]
    codec = _describe(folder, named[0], [AutoencoderKL, VQModel]) if named else None
    halvings = len(codec.network.config.block_out_channels) - 1 if codec else 0
    size = _require_size(image_size, folder, denoiser, 2**halvings)
    found = _image_channels(denoiser, codec)
    if type(channels) is not int or channels != found:
        raise UserError(f"prior.channels={channels}: {folder} is for images of {found}; set prior.channels={found}")
    latents = _latent_channels(codec) if codec else channels
    shape = (latents, *(side // 2**halvings for side in size))

    levels = read_levels(_place(folder, "scheduler") / "scheduler_config.json", shape[1] * shape[2] // 4)
    condition, unconditional, files = _conditions(folder, index, prompt, denoiser, guidance_scale, size)
    try:
        _try(denoiser, codec, call, levels, condition, shape, (channels, *size))
    except UserError as error:
        inside = denoiser.trained
        whole = [side * 2**halvings for side in inside]
        _try(denoiser, codec, call, levels, condition, (latents, *inside), (channels, *whole))
        raise UserError(
            f"prior.image_size={image_size}: the networks do not take it; {folder} was trained for {_written(*whole)}"
        ) from error
    scale, mean, std = _standard(codec)
    network, own = _read(denoiser)
    files += own
    if codec:
        autoencoder, own = _read(codec)
        files += own
    digest = digest_of(
        "diffusers",
        settings=[denoiser.settings, codec.settings if codec else None],
        levels=[hashlib.sha256(levels.alpha_bar.numpy().tobytes()).hexdigest(), levels.prediction, levels.times],
        scaled=[levels.sigma_data, levels.learned_variance],
        text=[index["_class_name"], prompt.strip(), guidance_scale],
        image_size=list(size),
        weights=[known_digest(file) for file in files],
    )
    return NetworkPrior(
        network=network,
        levels=levels,
        shape=shape,
        image_size=size[0] if size[0] == size[1] else size,
        digest=digest,
        call=call,
        channels=channels,
        codec=wrap_autoencoder(autoencoder, scale) if codec else None,
        mean=scale * mean,
        std=std,
        condition=condition,
        unconditional=unconditional,
        guidance_scale=guidance_scale if prompt.strip() else 1.0,
    )


def _folder(path: str | None) -> Path:
    if not path:
        raise UserError(
            "prior.path is not set: give the folder of a pipeline that diffusers saved, prior.path=/my/folder"
        )
    named = Path(str(path)).expanduser()
    return named.parent if named.name == "model_index.json" else named


def _place(folder: Path, part: str) -> Path:
    """The folder of a part: as diffusers has it, that of the pipeline where the part has none."""
    file = "scheduler_config.json" if part == "scheduler" else "config.json"
    flat = part in ("unet", "scheduler") and not (folder / part).is_dir() and (folder / file).is_file()
    return folder if flat else folder / part


def _require_parts(folder: Path, index: Mapping[str, Any]) -> None:
    for part, entry in index.items():
        used = part.startswith(PARTS) and entry not in (None, [None, None])
        if used and not (place := _place(folder, part)).is_dir():
            raise UserError(f"{place}: no such folder, model_index.json names it; fetch it anew")


def _read_index(path: str | None) -> dict[str, Any]:
    file = _folder(path) / "model_index.json"
    try:
        index = json.loads(file.read_bytes())
    except FileNotFoundError as error:
        raise UserError(
            f"{file}: no such file; prior.path must be a folder that diffusers saved a pipeline in"
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: is not a JSON file; fetch it anew") from error
    name = index.get("_class_name") if isinstance(index, dict) else None
    if name not in PIPELINES:
        raise UserError(f"{file}: _class_name is {name}, but this loader reads {' or '.join(PIPELINES)} only")
    return index


def _describe(folder: Path, part: str, classes: Sequence[Any]) -> Part:
    """A network as its file describes it, without memory. Raises UserError for settings that cannot be."""
    file = _place(folder, part) / "config.json"
    fixed = tables()["pipeline codec" if part in CODECS else "pipeline denoiser"]
    kind, settings = read_settings(file, classes, fixed)
    try:
        with torch.device("meta"):
            return Part(file.parent, kind, settings, kind.from_config(settings))
    except Exception as error:  # whatever a library raises where settings make no sense to it
        raise UserError(
            f"{file}: describes no network ({' '.join(str(error).split())[:200]}); fetch it anew"
        ) from error


def _require_size(image_size: int | Sequence[int] | None, folder: Path, denoiser: Part, factor: int) -> tuple[int, int]:
    """Height and width. Raises UserError, with the size that the network was trained for, unless they are whole numbers
    of its latents."""
    written = _written(*(side * factor for side in denoiser.trained))
    if image_size is None:
        raise UserError(f"prior.image_size is not set: {folder} is for {written}; set prior.image_size={written}")
    sides = tuple(image_size) if isinstance(image_size, Sequence) else (image_size,) * 2
    if len(sides) != 2 or not all(type(side) is int and side > 0 and side % factor == 0 for side in sides):
        one = f"a multiple of {factor}" if factor > 1 else "a whole number of pixels"
        raise UserError(
            f"prior.image_size={image_size}: must be {one}, or two of them, height and width; "
            f"{folder} was trained for {written}"
        )
    return sides[0], sides[1]


def _written(height: int, width: int) -> str:
    return str(height) if height == width else f"[{height},{width}]"


def _image_channels(denoiser: Part, codec: Part | None) -> int:
    """The channels of images. Raises UserError where input and output of a network, or latents, do not go together."""
    config = denoiser.network.config
    given, made = config.in_channels, config.out_channels
    patch = 4 if denoiser.kind is FluxTransformer2DModel else 1
    wanted = patch * _latent_channels(codec) if codec else given
    pairs = {given, 2 * given} if codec is None else {given, None}
    if given != wanted or made not in pairs:
        raise UserError(
            f"{denoiser.file}: in_channels is {given} and out_channels is {made}, but a network of {wanted} channels "
            "and nothing else is wanted (that of an inpainting model takes more)"
        )
    if codec is None:
        return given
    if codec.network.config.in_channels != codec.network.config.out_channels:
        raise UserError(f"{codec.file}: in_channels and out_channels differ, and images have one number of channels")
    return codec.network.config.in_channels


def _latent_channels(codec: Part) -> int:
    config = codec.network.config
    return config.get("vq_embed_dim") or config.latent_channels


def _standard(codec: Part | None) -> tuple[float, Tensor, Tensor]:
    """The codec's scale, and mean and deviation (1,1,1) or (C,1,1) of its latents without it."""
    config = codec.network.config if codec else {}
    scale, found = float(config.get("scaling_factor", 1.0)), {}
    for key, otherwise in (("latents_mean", config.get("shift_factor") or 0.0), ("latents_std", 1.0)):
        values = [otherwise] if config.get(key) is None else config[key]
        if codec and config.get(key) is not None and len(values) != (latents := _latent_channels(codec)):
            raise UserError(f"{codec.file}: {key} is {values}, but latents have {latents} channels; {REMEDY}")
        found[key] = torch.tensor(values, dtype=torch.float32).reshape(-1, 1, 1)
    if codec and not (scale > 0 and bool((found["latents_std"] > 0).all())):
        raise UserError(f"{codec.file}: scaling_factor and latents_std must be above 0; {REMEDY}")
    return scale, found["latents_mean"], found["latents_std"]


@torch.no_grad()
def _conditions(
    folder: Path, index: Mapping[str, Any], prompt: str, denoiser: Part, guidance: float, size: tuple[int, int]
) -> tuple[dict[str, Tensor], dict[str, Tensor], list[Path]]:
    """The network's context for the prompt, and for none; an empty prompt is none."""
    require_text(prompt)
    if type(guidance) not in (int, float) or not guidance >= 0:
        raise UserError(f"prior.guidance_scale={guidance}: must be a number from 0 on; 1 is without guidance")
    if index["_class_name"] not in TEXTS:
        if prompt.strip():
            raise UserError(f"prior.prompt={prompt}: {index['_class_name']} reads no texts; leave it empty")
        return {}, {}, []
    bound, free, files = prompts.encode(folder, index, prompt, denoiser.network)
    more: dict[str, Tensor] = {}
    if denoiser.network.config.get("addition_embed_type") == "text_time":  # of SDXL: size, crop and size again
        more = {"time_ids": torch.tensor([[*size, 0, 0, *size]], dtype=torch.float32)}
    if denoiser.network.config.get("guidance_embeds"):
        more = {"guidance": torch.tensor([float(guidance)])}
    if not free:
        return bound | more, {}, files
    return (bound if prompt.strip() else free) | more, free | more, files


def _try(
    denoiser: Part,
    codec: Part | None,
    call: Call,
    levels: Levels,
    condition: Condition,
    shape: tuple[int, ...],
    image: tuple[int, ...],
) -> None:
    """Raises UserError unless the networks take these shapes, before anything is read."""
    on_meta = {key: value.to("meta") for key, value in condition.items()}

    def predict(z: Tensor) -> Tensor:
        a = torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64, device="meta")
        x, time = network_input(levels, z, a, torch.zeros(1))
        return call(denoiser.network, x, time, on_meta)[:, : shape[0]]

    z, x = (1, *shape), (1, *image)
    try_network(denoiser.file, denoiser.network, predict, z, z)
    if codec:
        autoencoder = codec.network
        vq = isinstance(autoencoder, VQModel)
        try_network(
            codec.file, autoencoder, lambda x: autoencoder.encode(x)[0] if vq else autoencoder.encode(x)[0].mean, x, z
        )
        inside = autoencoder.post_quant_conv if vq else lambda latent: latent
        decode = autoencoder.decoder if vq else lambda latent: autoencoder.decode(latent).sample
        try_network(codec.file, autoencoder, lambda latent: decode(inside(latent)), z, x)


def _read(part: Part) -> tuple[Any, list[Path]]:
    """The network with its weights, frozen and in float32, and the files that they are in."""
    file, variant = find_weights(part.folder)
    files = require_weights(file)
    return from_pretrained(part.kind, file, variant), files
