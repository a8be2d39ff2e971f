"""The table of sources against what can be known of it without a network."""

from urllib.parse import urlsplit

import pytest
from cleanfid.downloads_helper import inception_url
from torchvision.models import AlexNet_Weights, VGG16_Weights

from ldsmc_bench.checkpoints.cache import weights_folder
from ldsmc_bench.checkpoints.guided_diffusion import PUBLISHED
from ldsmc_bench.fetch.sources import SOURCES, place


def test_inception_is_the_one_that_clean_fid_asks_for():
    source = SOURCES["metric=inception"]
    assert source.url == inception_url
    assert source.file == inception_url.rpartition("/")[2]  # cleanfid opens it by this name


@pytest.mark.parametrize(
    ("name", "weights"),
    [("metric=lpips_alex", AlexNet_Weights.IMAGENET1K_V1), ("metric=lpips_vgg", VGG16_Weights.IMAGENET1K_V1)],
)
def test_backbones_are_those_that_torchvision_asks_for(name, weights):
    source = SOURCES[name]
    assert source.url == weights.url
    assert source.size == pytest.approx(weights.meta["_file_size"] * 2**20, rel=1e-6)
    assert source.file.endswith(f"-{source.sha256}.pth") and len(source.sha256) == 8


def test_checkpoints_are_where_their_loaders_look():
    for name in ("ldm_ffhq", "ldm_celeba", "ldm_imagenet"):
        assert place(f"prior={name}", SOURCES[f"prior={name}"]) == weights_folder(name) / "model.ckpt"
    assert {SOURCES["prior=adm_ffhq"].file, SOURCES["prior=adm_imagenet"].file} == PUBLISHED.keys()


def test_every_address_is_encrypted_and_archives_are_told_from_files():
    addresses = [source.url for source in SOURCES.values() if source.url]
    assert len(addresses) == len(set(addresses)) == len(SOURCES) - 1
    assert {urlsplit(address).scheme for address in addresses} == {"https"}
    assert {name for name, source in SOURCES.items() if source.packed} == {"prior=ldm_ffhq", "prior=ldm_celeba"}
