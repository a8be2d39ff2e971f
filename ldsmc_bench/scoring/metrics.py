"""The metrics of a run: those of conf/metrics.yaml that suit the size of its images and whose files are there.

A metric whose file was not fetched is left out of the records; the summary's warning names the command for it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from hydra.utils import get_object
from torch import Tensor

from ldsmc_bench.files import pixel_digest
from ldsmc_bench.scoring.distances import frechet_estimate, kernel_estimate
from ldsmc_bench.scoring.fetched import command, digest_of, file_of
from ldsmc_bench.scoring.paired import ImageMetric
from ldsmc_bench.scoring.protocols import PROTOCOLS
from ldsmc_bench.scoring.reference import TRUTHS, FeatureSpace, Reference, find_reference, make_reference

Summary = Mapping[str, Any]
FEWEST = 3  # images on a side of a set metric


Size = int | Sequence[int]  # the side of an RGB image, or (C,H,W)


def suitable_metrics(size: Size, per: str | None = None) -> list[str]:
    """The metrics with a network, by name, that images of this size can have; all, or those `per` image or set. All
    networks take RGB."""
    channels, *sides = (3, size) if isinstance(size, int) else size
    if channels != 3:
        return []
    loaded = [protocol for protocol in PROTOCOLS.values() if protocol.load and per in (None, protocol.per)]
    own = [protocol for protocol in loaded if {protocol.at} == {*sides}]
    others = [protocol for protocol in loaded if protocol.at is None and min(sides) >= protocol.least]
    return [protocol.name for protocol in own or others]


def image_metrics(size: Size, device: torch.device) -> dict[str, ImageMetric]:
    """The metrics of single images of this size that can be computed here, in the order in which they are shown."""
    found = {name: get_object(protocol.compute) for name, protocol in PROTOCOLS.items() if protocol.compute}
    found |= {name: load(name, device) for name in suitable_metrics(size, "image")}
    return {name: metric for name, metric in found.items() if metric is not None}


def load(name: str, device: torch.device) -> Any:
    """The metric of an image, or the feature space of a set, of this name; None where its file was not fetched."""
    file, loader = file_of(name), PROTOCOLS[name].load
    return None if file is None or loader is None else get_object(loader)(file, device)


def set_scores(
    dataset: str, images: Tensor, truths: Iterable[Tensor], device: torch.device, before: Summary | None
) -> dict[str, Any]:
    """The set metrics of a run's images, uint8 (n,C,H,W), see `set_metrics`; none of small images, nor where
    Inception was not fetched.

    They are taken from the summary that the run has already, where that is of the same images, the same network and
    the same reference.
    """
    side = images.shape[-1]
    space = next((load(name, device) for name in suitable_metrics(images.shape[1:], "set")), None)
    if space is None:
        return {"warning": None}
    prepared = find_reference(dataset, side, space)
    known = before["sets"] if before else {}
    name, digest = (prepared.name, prepared.digest) if prepared else (TRUTHS, None)
    of = {"images_digest": pixel_digest(images.numpy())}
    same = {"n": len(images), **of, "network": space.digest, "reference": name, "reference_digest": digest}
    if f"{space.fid}_low" in known and all(known.get(key) == value for key, value in same.items()):
        return dict(known) | {"warning": few(len(images), known["reference_n"], space.dimension)}
    return set_metrics(space, images, prepared or make_reference(space, truths, TRUTHS)) | of


def set_metrics(space: FeatureSpace, images: Iterable[Tensor], reference: Reference) -> dict[str, Any]:
    """Fréchet and kernel distance of uint8 images (3,S,S) to the reference, by the names that `space` gives them.

    Each has its bootstrap standard error `…_se` and 95 % interval `…_low`, `…_high`. Beside them: `n`, `reference`,
    `reference_n`, the digests of the network and, where it has one, of the reference, and a `warning` or None. With
    fewer than three images the keys of both metrics are left out.
    """
    features = space.features(images)
    result: dict[str, Any] = {
        "n": len(features),
        "reference": reference.name,
        "reference_n": reference.n,
        "network": space.digest,
        "warning": few(len(features), reference.n, space.dimension),
        **({"reference_digest": reference.digest} if reference.digest else {}),
    }
    if min(len(features), reference.n) >= FEWEST:
        frechet = frechet_estimate(features, reference.mean, reference.cov)
        for name, one in {space.fid: frechet, space.kid: kernel_estimate(features, reference.features)}.items():
            result |= {name: one.value, f"{name}_se": one.se, f"{name}_low": one.low, f"{name}_high": one.high}
    return result


def few(n: int, reference_n: int, dimension: int) -> str | None:
    """A warning of few images on a side; None where there are enough."""
    fewer = min(n, reference_n)
    if fewer < FEWEST:
        return f"a set metric needs at least {FEWEST} images on both sides, here are {fewer}"
    than = f"{fewer} images are fewer than the {dimension} feature dimensions"
    return f"{than}: FID is biased upwards, trust KID more" if fewer < dimension else None


def complete_summary(summary: Summary, size: Size) -> dict[str, Any]:
    """The summary with the digests of the networks, and a warning of what is lacking."""
    sets = summary["sets"]
    warnings = [text for text in (sets.get("warning"), explain_missing(size, summary)) if text]
    return {
        **summary,
        "sets": {**sets, "warning": "; ".join(warnings) or None},
        "networks": digests([*summary["metrics"], *sets]),
    }


def digests(names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of the network's file, for each of these metrics that has a network."""
    with_network = [name for name in names if name in PROTOCOLS and PROTOCOLS[name].network]
    return {name: digest for name in with_network if (digest := digest_of(name))}


def explain_missing(size: Size, summary: Summary) -> str | None:
    """The metrics that a run's images lack, or some of them, and the command for them; None if all are there.

    One line, from its summary's `n`, `metrics` and `sets`.
    """
    if not isinstance(size, int) and size[0] != 3:
        names = ", ".join(one.label for one in PROTOCOLS.values() if one.load and one.at is None)
        return f"not computed: {names}; they need RGB, and these images have {size[0]} channel(s)"
    counts = {name: summary["metrics"].get(name, {}).get("n", 0) for name in suitable_metrics(size)}
    counts |= {name: summary["n"] for name in counts if name in summary["sets"]}
    absent = [name for name, n in counts.items() if n < summary["n"] and PROTOCOLS[name].fetched]
    rescore = "python -m ldsmc_bench rescore"
    if to_fetch := [name for name in absent if file_of(name) is None]:
        names = ", ".join(PROTOCOLS[name].label for name in to_fetch)
        return f"not computed: {names}; bring their files: {command(to_fetch)}; then: {rescore}"
    parts = [f"{PROTOCOLS[name].label} of {counts[name]}" for name in absent if PROTOCOLS[name].per == "image"]
    lacking = f"of {summary['n']} images there is only {', '.join(parts)}"
    return f"{lacking}; what can be filled in, is by: {rescore}" if parts else None
