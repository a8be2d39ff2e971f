from pathlib import Path

import numpy as np
import pytest
import torch
from cleanfid.fid import get_files_features
from cleanfid.inception_torchscript import InceptionV3W
from PIL import Image
from torch import Tensor, nn

from ldsmc_bench.checkpoints.metrics import inception_features, load_inception, resize
from ldsmc_bench.errors import UserError

FILE = "inception/inception-2015-12-05.pt"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network(standin_files: Path) -> nn.Module:
    return load_inception(standin_files / FILE, CPU)


@pytest.fixture(scope="module")
def images() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((18, 3, 12, 12), generator=generator)
    return (nn.functional.interpolate(coarse, size=96, mode="bicubic").clamp(0, 1) * 255).round().to(torch.uint8)


@pytest.mark.filterwarnings("ignore")
def test_features_are_those_of_clean_fid_from_the_saved_files(
    standin_files: Path, network: nn.Module, images: Tensor, tmp_path: Path
) -> None:
    files = [str(tmp_path / f"{i}.png") for i in range(5)]
    for file, image in zip(files, images, strict=False):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file)
    theirs = InceptionV3W(str(standin_files / "inception"), download=False)
    expected = get_files_features(files, theirs, num_workers=0, batch_size=2, device=CPU, mode="clean", verbose=False)
    found = inception_features(network, images[:5])
    assert found.dtype == np.float64 and found.shape == (5, 2048)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert found.std(0).max() > 0.01


def test_images_of_any_number_and_kind_of_iterable_keep_their_order(network: nn.Module, images: Tensor) -> None:
    together = inception_features(network, images)
    np.testing.assert_allclose(inception_features(network, iter(images)), together)
    np.testing.assert_allclose(inception_features(network, images[17:]), together[17:], rtol=1e-4, atol=1e-5)
    assert inception_features(network, []).shape == (0, 2048)


def test_a_resized_image_keeps_its_grey_and_is_not_rounded(images: Tensor) -> None:
    grey = torch.full((3, 64, 64), 77, dtype=torch.uint8)
    torch.testing.assert_close(resize(grey), torch.full((3, 299, 299), 77.0))
    picture = resize(images[0])
    assert (picture != picture.round()).any() and picture.min() >= 0 and picture.max() <= 255
    with pytest.raises(TypeError, match="8-bit"):
        resize(images[0].float())


@pytest.mark.parametrize("content", [b"<p>no network</p>", b""])
def test_another_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "inception-2015-12-05.pt"
    path.write_bytes(content)
    with pytest.raises(UserError, match="metric=inception --force") as caught:
        load_inception(path, CPU)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
def test_a_scripted_module_without_layers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "inception-2015-12-05.pt"
    torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)).save(str(path))
    with pytest.raises(UserError, match="not the scripted Inception network"):
        load_inception(path, CPU)
