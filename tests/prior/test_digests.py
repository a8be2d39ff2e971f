"""Digests of priors, as they are for good: renaming something in the code must not change one, another number must.

A digest that changes on purpose (another fixture, other shipped weights, a raised VERSION) is changed here with it.
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from ldsmc_bench.checkpoints import autoencoder, compvis, guided_diffusion, unet
from ldsmc_bench.checkpoints.model import Model
from ldsmc_bench.mixture import prior
from ldsmc_bench.prior.digests import digest_of
from ldsmc_bench.toyfaces import priors

FIXTURES = Path(__file__).parents[1] / "fixtures"
LDM, ADM = FIXTURES / "compvis_ldm_vq4_unconditional", FIXTURES / "guided_diffusion"
GOLDEN: dict[str, tuple[Callable[[], str], str]] = {
    "toyfaces, latent": (
        lambda: priors.latent().digest,
        "986eb9a1168559ceb691f2ea037f05a9de1b86610e116a495c9e10b43e9baed6",
    ),
    "toyfaces, pixel": (
        lambda: priors.pixel().digest,
        "9273929f903e02b9d531afd3ce2670013a3868f0bd5be2b53006ee1dc48932ef",
    ),
    "mixture": (
        lambda: prior.mixture("lattice", 8, 0, 20, 0.1, 100.0).digest,
        "f539ba29fe822bf275b0f1bb39cbd421d4a571b2a41f42a76fcd896c9edce6ec",
    ),
    "CompVis": (
        lambda: compvis.load(LDM).digest,
        "7f8471a68c5d8cec5f6cfe4dd6ec0ab64f964e069c2c3d108cdd8b23d9711579",
    ),
    "CompVis, raw": (
        lambda: compvis.load(LDM, ema=False).digest,
        "84d0439006c8088c560668d5c4afcd583883eedf58c63d9595ce18806e0dccdc",
    ),
    "CompVis, random": (
        lambda: compvis.load(LDM, name="ldm_ffhq", image_size=64, random_weights=True).digest,
        "random-weights-37b5f9c77a66434c29045ba9bb3dd11a3d2d521e3640ef87326fd465a5800477",
    ),
    "guided-diffusion": (
        lambda: guided_diffusion.load(ADM, "ffhq_10m.pt", "adm_ffhq", 64).digest,
        "ca6e31aa8a36f867b8ea1e86e135c9fd93803d4c82df5d753aa0206c60f07dcb",
    ),
    "FFHQ as published": (
        lambda: digest_of("model", model=compvis.FFHQ.identity()),
        "5f393ef4d37d91985f8090e35d1339320e5b8580d4aed452de3a53dd16f3c83f",
    ),
    "ImageNet as published": (
        lambda: digest_of("model", model=compvis.CIN256.identity()),
        "29d6e323c8b3c29f14cfb3185a036ca0bf2ec5214306ee7f52e8300b1b9f425f",
    ),
    "Stable Diffusion as published": (
        lambda: digest_of("model", model=compvis.SD15.identity()),
        "d25989be9969bf731900cc331851f29f0bc8a57ff5db4868a0ccf0ab79915820",
    ),
    "ffhq_10m.pt as published": (
        lambda: digest_of("model", model=asdict(guided_diffusion.PUBLISHED["ffhq_10m.pt"])),
        "3ec46657b29bd47295a0f653c2398a12c534baa09f60a1030e6b90e70b85abae",
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_digest_is_what_it_was(name):
    compute, expected = GOLDEN[name]
    assert compute() == expected


def test_the_name_of_a_class_is_no_part_of_a_digest():
    kinds = (Model, guided_diffusion.PixelModel, unet.UnetShape, autoencoder.VqShape)
    names = [kind.__qualname__ for kind in kinds]
    try:
        for kind in kinds:
            kind.__qualname__ = "Renamed"  # what a dataclass calls itself in its repr
        assert "Renamed" in repr(compvis.FFHQ)
        for name in ("CompVis", "guided-diffusion", "FFHQ as published", "Stable Diffusion as published"):
            test_a_digest_is_what_it_was(name)
    finally:
        for kind, name in zip(kinds, names, strict=True):
            kind.__qualname__ = name


def test_another_number_is_another_digest():
    models = [compvis.FFHQ, replace(compvis.FFHQ, scale=1.001), replace(compvis.FFHQ, beta_end=0.02)]
    assert len({digest_of("model", model=model.identity()) for model in models}) == 3
    assert digest_of("model", a=1.0) == digest_of("model", a=1) != digest_of("layout", a=1)
    grids = [(20, 0.1, 100.0), (20, 0.1, 100.0001), (20, 0.1000001, 100.0), (21, 0.1, 100.0)]
    assert len({prior.mixture("lattice", 8, 0, *grid).digest for grid in grids}) == 4
