"""Priors whose weights others published: where a prior's files are, and what is said where they are not."""

from pathlib import Path

from ldsmc_bench.errors import UserError
from ldsmc_bench.prior import adm_unet, compvis, compvis_vq
from ldsmc_bench.prior.cache import weights_folder
from ldsmc_bench.prior.latent import LatentPrior
from ldsmc_bench.prior.random_weights import marked, randomised, warn


def unconditional_ldm(
    name: str, image_size: int, path: str | None, ema: bool, random_weights: bool = False
) -> LatentPrior:
    """A CompVis latent diffusion model for faces (`models/ldm/ffhq256`, `models/ldm/celeba256`).

    `path` is the folder with model.ckpt (and config.yaml, where the network is not the published one), or None for the
    one where the fetch command puts it. `ema`: see `compvis.load`. `random_weights`: the same networks without any
    file, announced on stderr and never scored.
    Raises UserError where the checkpoint is absent or is not this prior's, or its images are not of `image_size`.
    """
    expect_switches(ema=ema, random_weights=random_weights)
    folder = folder_of(name, path)
    if random_weights:
        model = compvis.described(folder)
        prior = compvis.assembled(
            model,
            randomised(lambda: adm_unet.build(model.unet)),
            randomised(lambda: compvis_vq.build(model.vq)),
            marked(model),
        )
        warn(name)
    else:
        prior = compvis.load(holding(folder, name, "model.ckpt"), ema)
    expect_size(image_size, prior.image_size, folder)
    return prior


def folder_of(name: str, path: str | None) -> Path:
    """The folder of a prior's files: `path` where the user has set one, else where the fetch command puts them."""
    return Path(path).expanduser() if path else weights_folder(name)


def holding(folder: Path, name: str, *files: str) -> Path:
    """`folder`, if it holds one of `files`. Raises UserError that says how to fetch the prior called `name`."""
    if not any((folder / file).is_file() for file in files):
        raise UserError(
            f"prior={name}: {folder} holds no {' or '.join(files)}; "
            f"fetch it with: python -m ldsmc_bench.fetch prior={name} (or set prior.path to its folder)"
        )
    return folder


def expect_size(image_size: int, found: int, folder: Path) -> None:
    """Raises UserError where the network in `folder` is for images of another size than `prior.image_size`."""
    if found != image_size:
        raise UserError(
            f"prior.image_size={image_size}: {folder} holds a network for images of {found}; "
            f"set prior.image_size={found}"
        )


def expect_switches(**values: object) -> None:
    """Raises UserError for the first value of a key of the prior that is neither true nor false."""
    for key, value in values.items():
        if not isinstance(value, bool):
            raise UserError(f"prior.{key}={value}: must be true or false")
