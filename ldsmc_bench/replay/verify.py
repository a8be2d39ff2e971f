"""`python -m ldsmc_bench verify FOLDER`: compare a checkpoint, as loaded here, with results of its own code."""

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from ldsmc_bench.checkpoints import compvis, guided_diffusion
from ldsmc_bench.checkpoints.latent import LatentPrior
from ldsmc_bench.checkpoints.read import read_weights
from ldsmc_bench.cli import Options, entry
from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.codec import KlCodec, VqCodec, quantise
from ldsmc_bench.problem import tasks

TOLERANCE = 1e-4
Quantities = dict[str, Callable[[], Tensor]]

INPUTS = {"x", "z", "t", "class_label", "context", "posterior_noise"}
SKIPPED = {"box_masks", "free_form_masks", "free_form_hole_fractions"}  # tests compare their distributions


@entry
@torch.no_grad()
def main(arguments: Sequence[str] | None = None) -> int:
    """Print a JSON {quantity: largest deviation or null}; return 0 if all are below 1e-4, else 1."""
    parser = Options("verify", __doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="holds a checkpoint and expected.safetensors")
    parser.add_argument("--operators", type=Path, metavar="FILE", help="safetensors: x, and what operators make of it")
    options = parser.read(arguments)
    if bool(options.folder) == bool(options.operators):
        raise UserError("give either the folder of a checkpoint or operators=FILE")
    file = options.operators or options.folder / "expected.safetensors"
    try:
        expected = load_file(file)
    except Exception as error:  # absent, truncated, not safetensors
        raise UserError(f"{file}: must be a safetensors file of inputs and expected results ({error})") from error
    quantities = operators(expected) if options.operators else checkpoint(options.folder, expected)
    found: dict[str, float | None] = {}
    for name in sorted(expected.keys() - INPUTS):
        if name in SKIPPED:
            print(f"{name}: skipped, drawn by another generator", file=sys.stderr)
            continue
        if name not in quantities:
            raise UserError(f"{name}: cannot be computed here; known are {', '.join(quantities)}")
        computed = quantities[name]()
        if computed.shape != expected[name].shape:
            raise UserError(f"{name}: has shape {tuple(computed.shape)}, expected is {tuple(expected[name].shape)}")
        largest = (computed - expected[name]).abs().max().item()
        found[name] = largest if math.isfinite(largest) else None
    print(json.dumps(found, indent=2))
    return 0 if all(value is not None and value < TOLERANCE for value in found.values()) else 1


def checkpoint(folder: Path, given: Mapping[str, Tensor]) -> Quantities:
    """Quantities of the checkpoint in `folder`, whatever its layout, from the inputs x, z and t, and from class_label
    (R,) or context (R,L,D) where the model is conditional.

    Raises UserError where the folder holds no checkpoint of a known layout, or the inputs lack what it depends on.
    """
    published, path = "sd15", compvis.checkpoint_in(folder)
    if not compvis.is_diffusers(folder):
        if not path.exists():
            pixel = guided_diffusion.load(folder)
            return {
                "out": lambda: pixel.unet(given["x"], given["t"]).sample,
                "alphas_cumprod": lambda: pixel.alpha_bar,
            }
        published = compvis.published_kind(read_weights(path).keys())
    return latent(lambda ema: compvis.load(folder, ema, published=published), given)


def latent(load: Callable[[bool], LatentPrior], given: Mapping[str, Tensor]) -> Quantities:
    """Quantities of a latent diffusion model, `load(ema)`: with the context that is given; without one, of the classes
    that are given, of an unconditional model, or of the empty prompt."""

    def conditioned(prior: LatentPrior) -> LatentPrior:
        if "context" in given:
            return replace(prior, context=given["context"])
        return prior.conditioned(given["class_label"].tolist()) if "class_label" in given else prior

    prior = load("eps_ema" in given)
    raw = load(False) if "eps" in given else prior
    found: Quantities = {
        "eps": lambda: conditioned(raw).eps(given["z"], given["t"]),
        "eps_ema": lambda: conditioned(prior).eps(given["z"], given["t"]),
        "encode": lambda: prior.encode(given["x"]),
        "decode": lambda: prior.decode(given["z"]),
        "alphas_cumprod": lambda: prior.alpha_bar,
    }
    if isinstance(kl := prior.codec, KlCodec):
        found["encode"] = lambda: kl.encode(given["x"], given.get("posterior_noise"))
    if isinstance(vq := prior.codec, VqCodec):
        found["decode_without_quantize"] = lambda: vq.network.decode(given["z"], force_not_quantize=True).sample
        found["quantized"] = lambda: quantise(vq.codebook, given["z"])
    return found


def operators(given: Mapping[str, Tensor]) -> Quantities:
    """Operators of the image x (1,3,H,W) in [-1,1]; numbers are those of the published tasks."""
    if "x" not in given:
        raise UserError("x: the file holds no image to apply operators to; add it, (1,3,H,W) in [-1,1]")
    x = given["x"]
    side = x.shape[-1]
    noise = Noise(0, ["x"], "verify")  # these operators draw nothing
    return {
        "super_resolution_x4": lambda: tasks.super_resolution(side, noise, scale=4)(x),
        "super_resolution_x8": lambda: tasks.super_resolution(side, noise, scale=8)(x),
        "gaussian_blur_61_3": lambda: tasks.gaussian_deblur(side, noise, sigma=3.0)(x),
        "colorization": lambda: tasks.colorize(side, noise, weights=(0.3333, 0.3334, 0.3333))(x),
        "phase_retrieval_oversample2": lambda: tasks.phase_retrieval(side, noise, oversample=2)(x),
    }


if __name__ == "__main__":
    sys.exit(main())
