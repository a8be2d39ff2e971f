"""Pixel diffusion models in guided-diffusion's layout: DPS' `ffhq_10m.pt` and OpenAI's unconditional ImageNet model."""

from dataclasses import dataclass
from pathlib import Path

from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.prior import adm_unet, schedule
from ldsmc_bench.prior.cache import converted
from ldsmc_bench.prior.foreign_config import read_foreign_config
from ldsmc_bench.prior.transplant import filled, moved, refuse_leftovers
from ldsmc_bench.prior.unpickle import read_checkpoint

# guided-diffusion, script_util.py: what an empty `channel_mult` means
_DEFAULT_MULT = {256: (1, 1, 2, 2, 4, 4), 128: (1, 1, 2, 3, 4), 64: (1, 2, 3, 4)}


@dataclass(frozen=True)
class Model:
    """A pixel diffusion model but for its weights."""

    unet: adm_unet.UnetShape
    image_size: int

    def alpha_bar(self) -> Tensor:
        return schedule.linear()


def _published(width: int, res_blocks: int, attention_at: tuple[int, ...]) -> Model:
    unet = adm_unet.UnetShape(
        channels_in=3,
        channels_out=6,
        width=width,
        mult=_DEFAULT_MULT[256],
        res_blocks=res_blocks,
        attention_at=attention_at,
        head_channels=64,
        scale_shift=True,
        resnet_resampling=True,
    )
    return Model(unet, image_size=256)


# DPS, configs/model_config.yaml and configs/imagenet_model_config.yaml
PUBLISHED = {
    "ffhq_10m.pt": _published(width=128, res_blocks=1, attention_at=(16,)),
    "256x256_diffusion_uncond.pt": _published(width=256, res_blocks=2, attention_at=(8, 16, 32)),
}


def load(folder: str | Path) -> tuple[UNet2DModel, Model]:
    """The UNet of the checkpoint in `folder`, and what it is; frozen, float32.

    The UNet maps images (B,3,H,W) in [-1,1] at noise level t (B,) to (B,6,H,W): the predicted noise, then the learned
    interpolation of the variance (three channels where the model has none). `model_config.yaml` in the folder names and
    describes the file; without one the file must be a published one.
    Raises UserError where a file is absent or unreadable, the config asks for what this layout has not, or the weights
    are not exactly those of the config.
    """
    path, model = described(folder)
    return read(path, model), model


def read(path: Path, model: Model) -> UNet2DModel:
    """The UNet of `model` with the weights in `path`, as `load` gives it; converted once, then memory-mapped."""

    def convert() -> dict[str, Tensor]:
        weights = read_checkpoint(path)
        origins = adm_unet.origins(model.unet, str)
        state = moved(lambda: adm_unet.build(model.unet), origins, weights, path)
        refuse_leftovers(weights, {origin.key for origin in origins.values()}, path)
        return state

    return filled(lambda: adm_unet.build(model.unet), converted(path, f"guided_diffusion {model}", convert))


def described(folder: str | Path, published: str | None = None) -> tuple[Path, Model]:
    """The checkpoint of a folder and what it is: what `model_config.yaml` says, or the model `published` under that
    name, whether its file is there or not; without a name the first of those that is there. Raises UserError where
    nothing is."""
    folder = Path(folder)
    config = folder / "model_config.yaml"
    if config.exists():
        return folder / Path(str(read_foreign_config(config).ask("model_path"))).name, read_config(config)
    names = [published] if published else [name for name in PUBLISHED if (folder / name).exists()]
    if not names:
        raise UserError(
            f"{folder}: holds neither model_config.yaml nor {' nor '.join(PUBLISHED)}; put the checkpoint there"
        )
    return folder / names[0], PUBLISHED[names[0]]


def read_config(path: Path) -> Model:
    """The model that a guided-diffusion `model_config.yaml` describes (the flags of its training script).

    Raises UserError naming the first key that is absent or asks for another kind of network.
    """
    config = read_foreign_config(path)
    config.expect("class_cond", False, default=False)
    config.expect("use_new_attention_order", False, default=False)
    image_size = config.count("image_size")
    if config.ask("channel_mult", "") == "":
        if image_size not in _DEFAULT_MULT:
            raise UserError(f"{path}: channel_mult is missing, and image_size {image_size} has no default; set it")
        mult = _DEFAULT_MULT[image_size]
    else:
        mult = config.counts("channel_mult")
    if mult[0] != 1:
        raise UserError(f"{path}: channel_mult begins with {mult[0]}, but this loader reads 1 only")
    unet = adm_unet.UnetShape(
        channels_in=3,
        channels_out=6 if config.ask("learn_sigma") else 3,
        width=config.count("num_channels"),
        mult=mult,
        res_blocks=config.count("num_res_blocks"),
        attention_at=tuple(image_size // size for size in config.counts("attention_resolutions")),
        head_channels=config.count("num_head_channels"),
        scale_shift=bool(config.ask("use_scale_shift_norm")),
        resnet_resampling=bool(config.ask("resblock_updown")),
    )
    return Model(unet, image_size)
