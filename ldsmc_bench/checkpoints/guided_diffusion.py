"""Pixel diffusion models in guided-diffusion's layout: DPS' `ffhq_10m.pt` and OpenAI's unconditional ImageNet model."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ldsmc_bench.checkpoints.cache import known_digest, require_bool, require_file, require_size, weights_folder
from ldsmc_bench.checkpoints.config import ForeignConfig
from ldsmc_bench.checkpoints.convert import convert_networks, load_networks, random_networks
from ldsmc_bench.checkpoints.read import read_weights
from ldsmc_bench.checkpoints.unet import UnetShape
from ldsmc_bench.errors import UserError
from ldsmc_bench.prior import schedule
from ldsmc_bench.prior.digests import digest_of, random_digest
from ldsmc_bench.prior.pixel import PixelPrior

# guided-diffusion, script_util.py: the levels of an empty `channel_mult`
_DEFAULT_MULT = {256: (1, 1, 2, 2, 4, 4), 128: (1, 1, 2, 3, 4), 64: (1, 2, 3, 4)}


@dataclass(frozen=True)
class PixelModel:
    """A pixel diffusion model without its weights."""

    unet: UnetShape
    image_size: int

    def alpha_bar(self) -> Tensor:
        return schedule.linear()


def _published(width: int, res_blocks: int, attention_at: tuple[int, ...]) -> PixelModel:
    unet = UnetShape(3, 6, width, _DEFAULT_MULT[256], res_blocks, attention_at, 64, True, True)
    return PixelModel(unet, image_size=256)


# DPS, configs/model_config.yaml and configs/imagenet_model_config.yaml
PUBLISHED = {
    "ffhq_10m.pt": _published(width=128, res_blocks=1, attention_at=(16,)),
    "256x256_diffusion_uncond.pt": _published(width=256, res_blocks=2, attention_at=(8, 16, 32)),
}


def load(
    path: str | Path | None,
    published: str | None = None,
    name: str = "",
    image_size: int | None = None,
    random_weights: bool = False,
) -> PixelPrior:
    """A guided-diffusion model (Dhariwal and Nichol 2021) without classes, variance learned where its config says so.

    `path` is the folder with the file called `published` (without a name, any published one), or with any model and the
    `model_config.yaml` that names and describes it; without one, it is where the fetch command puts the prior `name`.
    Raises UserError where a file is absent or unreadable, the config asks for what this layout has not, the weights are
    not exactly those of the config, or images are not of `image_size`.
    """
    require_bool(random_weights=random_weights)
    folder = Path(path).expanduser() if path else weights_folder(name)
    if not random_weights:
        require_file(folder, name, str(published), "model_config.yaml")
    file, model = describe(folder, published)
    require_size(image_size, model.image_size, folder)
    settings: dict[str, Any] = {"layout": "guided_diffusion", "model": asdict(model)}
    shapes = {"unet": model.unet}
    if random_weights:
        networks, digest = random_networks(name, shapes), random_digest(**settings)
    else:

        def convert(built: Mapping[str, nn.Module]) -> dict[str, Tensor]:
            return convert_networks(built, shapes, {"unet": str}, read_weights(file), file)

        networks = load_networks(file, shapes, digest_of(**settings), convert)
        digest = digest_of(**settings, weights=known_digest(file))
    return PixelPrior(networks["unet"], model.alpha_bar(), model.image_size, digest)


def describe(folder: str | Path, published: str | None = None) -> tuple[Path, PixelModel]:
    """The checkpoint of a folder and its model: that of `model_config.yaml`, or the model `published` under that name,
    whether its file is there or not; without a name the first of those that is there. Raises UserError where none is.
    """
    folder = Path(folder)
    config = folder / "model_config.yaml"
    if config.exists():
        return folder / Path(str(ForeignConfig(config).get("model_path"))).name, read_config(config)
    names = [published] if published else [name for name in PUBLISHED if (folder / name).exists()]
    if not names:
        raise UserError(
            f"{folder}: holds neither model_config.yaml nor {' nor '.join(PUBLISHED)}; put the checkpoint there"
        )
    return folder / names[0], PUBLISHED[names[0]]


def read_config(path: Path) -> PixelModel:
    """The model that a guided-diffusion `model_config.yaml` describes (the flags of its training script).

    Raises UserError naming the first key that is absent or asks for another kind of network.
    """
    config = ForeignConfig(path)
    by_default = config.get("channel_mult") in (None, "")
    found = config.read("guided diffusion", "default levels" if by_default else "own levels")
    size = found["image_size"]
    mult = _DEFAULT_MULT.get(size, ()) if by_default else found["channel_mult"]
    config.expect(bool(mult), "image_size", "a size without default levels; set channel_mult")
    unet = UnetShape(
        channels_in=3,
        channels_out=6 if found["learn_sigma"] else 3,
        width=found["num_channels"],
        mult=mult,
        res_blocks=found["num_res_blocks"],
        attention_at=tuple(size // side for side in found["attention_resolutions"]),
        head_channels=found["num_head_channels"],
        scale_shift=found["use_scale_shift_norm"],
        resnet_resampling=found["resblock_updown"],
    )
    out, unit = unet.channels_out, 2**unet.halvings
    config.expect(found["out_channels"] in (out, None), "out_channels", f"but must be {out} with this learn_sigma")
    config.expect(size % unit == 0, "image_size", f"but must be a multiple of {unit} here")
    return PixelModel(unet, size)
