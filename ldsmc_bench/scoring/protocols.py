"""Every metric by its named protocol: what is computed, its unit and range, by which network, and how it is printed.

Tables, figures, the page and W&B read headings, directions and digits here. The value of a metric `per` image is in a
record's `metrics`, its mean in the summary's; that of a set is in the summary's `sets`, with `<name>_se`, its standard
error, and `<name>_low` and `<name>_high`, its 95 % interval. The summary's `networks` has the SHA-256 of the network's
file for every metric that uses one.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Protocol:
    """One metric.

    label, latex: its heading in plain text and in LaTeX, a star where numbers must not be compared with the papers'
    unit: "" where it has none; range: the least and the greatest value it can take
    better: what a good method has: a higher value, a lower one, or one near 1
    digits: decimals in tables; per: what one value belongs to
    network: what its features come from, None where it needs none
    fetched: what brings the network's file, `python -m ldsmc_bench.fetch <this>`; None where nothing has to come
    how: the protocol in one line
    """

    name: str
    label: str
    latex: str
    unit: str
    range: tuple[float, float]
    better: Literal["higher", "lower", "one"]
    digits: int
    per: Literal["image", "set"]
    network: str | None
    fetched: str | None
    how: str


_INF = math.inf
_TOYFACES = "toyfaces feature network"
_INCEPTION = "Inception-v3 (inception-2015-12-05)"
_LPIPS = "lpips package, v0.1; 8-bit image and truth in [0,1], scaled to [-1,1]; full size"
_CLEAN = "clean-fid's features of the 8-bit images, resized to 299 (clean: bicubic, antialiased, not rounded)"

_ALL = (
    Protocol(
        "psnr", "PSNR", "PSNR", "dB", (0, _INF), "higher", 2, "image", None, None,
        "peak 255, mean over all pixels and channels of the 8-bit image; bounded by one grey level off in one value",
    ),
    Protocol(
        "ssim", "SSIM", "SSIM", "", (-1, 1), "higher", 3, "image", None, None,
        "Wang et al. 2004, torchmetrics: Gaussian window of std 1.5 px, mean over RGB channels",
    ),
    Protocol(
        "lpips_vgg", "LPIPS (VGG)", "LPIPS", "", (0, _INF), "lower", 3, "image",
        "VGG-16 (vgg16-397923af)", "metric=lpips_vgg", f"{_LPIPS}, net=vgg",
    ),
    Protocol(
        "lpips_alex", "LPIPS (Alex)", r"LPIPS$_\text{Alex}$", "", (0, _INF), "lower", 3, "image",
        "AlexNet (alexnet-owt-7be5be79)", "metric=lpips_alex", f"{_LPIPS}, net=alex",
    ),
    Protocol(
        "niqe", "NIQE", "NIQE", "", (0, _INF), "lower", 2, "image",
        "NIQE parameters of LIVE (niqe_pris_params)", "metric=niqe",
        "Mittal et al. 2013 as BasicSR computes it: luma 16-235, rounded, 96 px blocks, no crop",
    ),
    Protocol(
        "misfit", "misfit", "misfit", "noise std", (0, _INF), "one", 2, "image", None, None,
        "root mean square of A(x) - y over the observed entries, in units of the noise; 1 fits like noise",
    ),
    Protocol(
        "toyfaces_perceptual", "perceptual*", r"perceptual$^*$", "", (0, 2), "lower", 4, "image", _TOYFACES, None,
        "distance of unit-length activations, mean over positions and five layers; not LPIPS",
    ),
    Protocol(
        "fid_clean", "FID", "FID", "", (0, _INF), "lower", 2, "set", _INCEPTION, "metric=inception",
        f"{_CLEAN}; Fréchet distance in float64; biased upwards on few images",
    ),
    Protocol(
        "kid_clean", "KID", "KID", "", (-_INF, _INF), "lower", 4, "set", _INCEPTION, "metric=inception",
        f"{_CLEAN}; cubic kernel, unbiased over all pairs (clean-fid averages over random subsets)",
    ),
    Protocol(
        "toyfaces_fid", "FID*", r"FID$^*$", "", (0, _INF), "lower", 2, "set", _TOYFACES, None,
        "Fréchet distance of 64 features in float64; not Inception-FID",
    ),
    Protocol(
        "toyfaces_kid", "KID*", r"KID$^*$", "", (-_INF, _INF), "lower", 4, "set", _TOYFACES, None,
        "cubic kernel of 64 features, unbiased over all pairs; not Inception-KID",
    ),
    Protocol(
        "sw1_ratio", "SW1/floor", "SW$_1$ / floor", "", (0, _INF), "one", 2, "image", None, None,
        "sliced Wasserstein-1 distance from the exact posterior (500 directions, as many exact draws), over the one "
        "between two sets of exact draws",
    ),
    Protocol(
        "log_evidence_gap", "evidence gap", "evidence gap", "nat", (-_INF, _INF), "lower", 2, "image", None, None,
        "log p(y) less the mean of its estimates, one a run",
    ),
    Protocol(
        "sd_log_evidence", "sd evidence", "sd of log evidence", "nat", (0, _INF), "lower", 2, "image", None, None,
        "standard deviation of the estimates of log p(y): over runs of a known problem, over islands of an image",
    ),
)  # fmt: skip

PROTOCOLS: Mapping[str, Protocol] = {protocol.name: protocol for protocol in _ALL}
