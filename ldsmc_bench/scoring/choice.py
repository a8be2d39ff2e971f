"""Which metrics a run has: at 64 pixels those of toyfaces' network, at other sizes the papers', once their files came.

A metric whose file was not fetched is left out of the records; the summary's warning says what brings it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from ldsmc_bench.scoring.features import IMAGE_SIZE, load_features, unit_range
from ldsmc_bench.scoring.fetched import command, digest_of, file_of
from ldsmc_bench.scoring.paired import ImageMetric, psnr, ssim
from ldsmc_bench.scoring.perceptual import perceptual_distance
from ldsmc_bench.scoring.protocols import PROTOCOLS
from ldsmc_bench.scoring.reference import TRUTHS, made_beforehand, reference_of
from ldsmc_bench.scoring.sets import few, set_metrics
from ldsmc_bench.scoring.spaces import space_for

SMALLEST = 32  # pixels: below that, a picture is none that these networks know
LPIPS_SMALLEST = 64  # its networks halve an image four or five times
NIQE_SMALLEST = 192  # four of its blocks

Summary = Mapping[str, Any]


def suited(side: int) -> list[str]:
    """The metrics with a network, by name, that images of this side can have."""
    if side == IMAGE_SIZE:
        return ["toyfaces_perceptual", "toyfaces_fid", "toyfaces_kid"]
    if side < SMALLEST:
        return []
    lpips = ["lpips_vgg", "lpips_alex"] if side >= LPIPS_SMALLEST else []
    return [*lpips, *(["niqe"] if side >= NIQE_SMALLEST else []), "fid_clean", "kid_clean"]


def image_metrics(side: int, device: torch.device) -> dict[str, ImageMetric]:
    """The metrics of single images of this side that can be computed here, in the order in which they are shown."""
    return {"psnr": psnr, "ssim": ssim} | {
        name: metric
        for name in suited(side)
        if PROTOCOLS[name].per == "image" and (metric := _metric(name, device)) is not None
    }


def set_scores(
    dataset: str, images: Tensor, truths: Iterable[Tensor], device: torch.device, before: Summary | None
) -> dict[str, Any]:
    """The set metrics of a run's images, uint8 (n,3,S,S), see `set_metrics`; none of small images, nor where
    Inception was not fetched.

    They are taken from the summary that the run has already, where that is of as many images (a success is never
    replaced, so of the same), the same network and the same reference.
    """
    side = images.shape[-1]
    space = space_for(side, device) if suited(side) else None
    if space is None:
        return {"warning": None}
    made = made_beforehand(dataset, side, space)
    known = before["sets"] if before else {}
    name, digest = (made.name, made.digest) if made else (TRUTHS, None)
    same = {"n": len(images), "network": space.digest, "reference": name, "reference_digest": digest}
    if f"{space.fid}_low" in known and all(known.get(key) == value for key, value in same.items()):
        return dict(known) | {"warning": few(len(images), known["reference_n"], space.dimension)}
    return set_metrics(space, images, made or reference_of(space, truths, TRUTHS))


def completed(summary: Summary, side: int) -> dict[str, Any]:
    """The summary with the digests of the networks, and a warning of what is lacking."""
    sets = summary["sets"]
    warnings = [text for text in (sets.get("warning"), lacking(side, summary)) if text]
    return {
        **summary,
        "sets": {**sets, "warning": "; ".join(warnings) or None},
        "networks": digests([*summary["metrics"], *sets]),
    }


def digests(names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of the network's file, for each of these metrics that has a network."""
    return {
        name: digest
        for name in names
        if name in PROTOCOLS
        and PROTOCOLS[name].network
        and (digest := digest_of(name) if PROTOCOLS[name].fetched else load_features().digest)
    }


def lacking(side: int, summary: Summary) -> str | None:
    """Which metrics the images of a run could have and have not, or not all, and how to get them; None if all is there.

    One line, from its summary's `n`, `metrics` and `sets`.
    """
    names = [name for name in suited(side) if PROTOCOLS[name].fetched]
    counts = {name: (summary["metrics"].get(name) or {}).get("n", 0) for name in names}
    counts |= {name: summary["n"] for name in names if name in summary["sets"]}
    absent = [name for name in names if counts[name] < summary["n"]]
    to_fetch = [name for name in absent if file_of(name) is None]
    rescore = "python -m ldsmc_bench.rescore"
    if to_fetch:
        return f"not computed: {_listed(to_fetch)}; bring their files: {command(to_fetch)}; then: {rescore}"
    incomplete = [name for name in absent if PROTOCOLS[name].per == "image"]
    if incomplete:
        parts = ", ".join(f"{PROTOCOLS[name].label} of {counts[name]}" for name in incomplete)
        return f"of {summary['n']} images there is only {parts}; what can be filled in, is by: {rescore}"
    return None


def _listed(names: Iterable[str]) -> str:
    return ", ".join(PROTOCOLS[name].label for name in names)


def _metric(name: str, device: torch.device) -> ImageMetric | None:
    """None where the file was not fetched."""
    if name == "toyfaces_perceptual":
        network = load_features()
        return lambda image, truth: float(perceptual_distance(network, unit_range(image), unit_range(truth)))
    path = file_of(name)
    if path is None:
        return None
    if name == "niqe":
        from ldsmc_bench.scoring.niqe import load_parameters, niqe

        natural = load_parameters(path)
        return lambda image, truth: niqe(image, natural)
    from ldsmc_bench.scoring.lpips_distance import load_lpips, lpips_distance

    lpips = load_lpips("vgg" if name == "lpips_vgg" else "alex", path).to(device)
    return lambda image, truth: float(lpips_distance(lpips, unit_range(image), unit_range(truth)))
