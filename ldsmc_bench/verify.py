"""`python -m ldsmc_bench.verify FOLDER`: does a checkpoint, as loaded here, compute what its own code computed?"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior import cin256, compvis, guided_diffusion, networks, stable_diffusion
from ldsmc_bench.prior.codec import KlCodec, VqCodec
from ldsmc_bench.prior.conditional import ConditionalPrior
from ldsmc_bench.prior.weight_files import read_weights
from ldsmc_bench.problem import tasks

TOLERANCE = 1e-4
Quantities = dict[str, Callable[[], Tensor]]

INPUTS = {"x", "z", "t", "class_label", "context", "posterior_noise"}
SKIPPED = {
    "box_masks": "drawn by another generator; tests compare them in distribution",
    "free_form_masks": "drawn by another generator; tests compare them in distribution",
    "free_form_hole_fractions": "drawn by another generator; tests compare them in distribution",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a JSON {quantity: largest absolute deviation}.

    The exit code is 0 if all are below 1e-4, 1 if one is not, 2 if the question cannot be answered.
    """
    parser = argparse.ArgumentParser(prog="python -m ldsmc_bench.verify", description=__doc__)
    subject = parser.add_mutually_exclusive_group(required=True)
    subject.add_argument("folder", nargs="?", type=Path, help="holds a checkpoint and expected.safetensors")
    subject.add_argument("--operators", type=Path, metavar="FILE", help="safetensors: x, and what operators make of it")
    options = parser.parse_args(arguments)
    try:
        if options.operators:
            expected = _read(options.operators)
            quantities = operators(expected)
        else:
            expected = _read(options.folder / "expected.safetensors")
            quantities = checkpoint(options.folder, expected)
        for name in sorted(expected.keys() & SKIPPED.keys()):
            print(f"{name}: skipped, {SKIPPED[name]}", file=sys.stderr)
        found = deviations(quantities, expected)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found, indent=2))
    return 0 if all(value is not None and value < TOLERANCE for value in found.values()) else 1


@torch.no_grad()
def deviations(quantities: Quantities, expected: Mapping[str, Tensor]) -> dict[str, float | None]:
    """Largest absolute deviation of each expected quantity; None where what we compute is not finite.

    Raises UserError for a quantity that is unknown here or has another shape.
    """
    found: dict[str, float | None] = {}
    for name in sorted(expected.keys() - INPUTS - SKIPPED.keys()):
        if name not in quantities:
            raise UserError(f"{name}: cannot be computed here; known are {', '.join(quantities)}")
        computed = quantities[name]()
        if computed.shape != expected[name].shape:
            raise UserError(f"{name}: has shape {tuple(computed.shape)}, expected is {tuple(expected[name].shape)}")
        largest = (computed - expected[name]).abs().max().item()
        found[name] = largest if math.isfinite(largest) else None
    return found


def checkpoint(folder: Path, given: Mapping[str, Tensor]) -> Quantities:
    """What can be computed with the checkpoint in `folder`, whatever its layout, from the inputs x, z and t, and from
    class_label (R,) or context (R,L,D) where the model is conditional.

    Raises UserError where the folder holds no checkpoint of a known layout, or the inputs lack what it depends on.
    """
    layout = _layout(folder)
    if layout == "guided-diffusion":
        unet, model = guided_diffusion.load(folder)
        return {"out": lambda: unet(given["x"], given["t"]).sample, "alphas_cumprod": model.alpha_bar}
    return {"unconditional": _unconditional, "classes": _classes, "text": _text}[layout](folder, given)


def _layout(folder: Path) -> str:
    """Which loader reads `folder`: the keys of a CompVis checkpoint say what it is conditioned on."""
    if (folder / "unet").is_dir():
        return "text"
    path = stable_diffusion.checkpoint_in(folder)
    if not path.exists():
        return "guided-diffusion"
    keys = read_weights(path).keys()
    if any(key.startswith("cond_stage_model.transformer.") for key in keys):
        return "text"
    return "classes" if any(key.startswith("cond_stage_model.") for key in keys) else "unconditional"


def _unconditional(folder: Path, given: Mapping[str, Tensor]) -> Quantities:
    prior = compvis.load(folder, ema="eps_ema" in given)
    raw = compvis.load(folder, ema=False) if "eps" in given else prior
    return {
        "eps": lambda: raw.eps(given["z"], given["t"]),
        "eps_ema": lambda: prior.eps(given["z"], given["t"]),
        "encode": lambda: prior.encode(given["x"]),
        "decode": lambda: prior.decode(given["z"]),
        "decode_without_quantize": lambda: prior.vq.decode(given["z"], force_not_quantize=True, return_dict=False)[0],
        "quantized": lambda: networks.quantise(prior.codebook, given["z"]),
        "alphas_cumprod": lambda: prior.alpha_bar,
    }


def _classes(folder: Path, given: Mapping[str, Tensor]) -> Quantities:
    return _conditional(lambda ema: cin256.load(folder, ema), given)


def _text(folder: Path, given: Mapping[str, Tensor]) -> Quantities:
    return _conditional(lambda ema: stable_diffusion.load(folder, ema=ema), given)


def _conditional(load: Callable[[bool], ConditionalPrior], given: Mapping[str, Tensor]) -> Quantities:
    prior = load("eps_ema" in given)
    raw = load(False) if "eps" in given else prior
    found: Quantities = {
        "eps": lambda: _bound(raw, given).eps(given["z"], given["t"]),
        "eps_ema": lambda: _bound(prior, given).eps(given["z"], given["t"]),
        "encode": lambda: prior.encode(given["x"]),
        "decode": lambda: prior.decode(given["z"]),
        "alphas_cumprod": lambda: prior.alpha_bar,
    }
    if isinstance(kl := prior.codec, KlCodec):
        found["encode"] = lambda: kl.encode(given["x"], given.get("posterior_noise"))
    if isinstance(vq := prior.codec, VqCodec):
        found["decode_without_quantize"] = lambda: vq.network.decode(given["z"], force_not_quantize=True).sample
        found["quantized"] = lambda: networks.quantise(vq.codebook, given["z"])
    return found


def _bound(prior: ConditionalPrior, given: Mapping[str, Tensor]) -> ConditionalPrior:
    """The prior with the context that is given; without one, an unconditional class or the empty prompt."""
    if "context" in given:
        return replace(prior, context=given["context"])
    return prior.conditioned(given["class_label"].tolist()) if "class_label" in given else prior


def operators(given: Mapping[str, Tensor]) -> Quantities:
    """What can be computed of the image x (1,3,H,W) in [-1,1]; numbers are those of the published tasks."""
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


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except Exception as error:  # absent, truncated, not safetensors
        raise UserError(
            f"{path}: cannot be read; it must be a safetensors file of inputs and expected results"
        ) from error


if __name__ == "__main__":
    sys.exit(main())
