from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.problem import toyfaces
from ldsmc_bench.scoring.features import FeatureNetwork, load_features
from ldsmc_bench.scoring.reference import features_of, load_reference, reference_for, reference_of, save_reference
from ldsmc_bench.scoring.sets import set_metrics


def test_shipped_statistics_are_those_of_validation_faces() -> None:
    network = load_features()
    reference = load_reference(network)
    assert reference.features.shape == (2048, 64)
    drawn = np.stack([toyfaces.array(image_id) for image_id in toyfaces.ids("validation")[:16]])
    images = torch.from_numpy(drawn).permute(0, 3, 1, 2)
    np.testing.assert_allclose(features_of(network, images), reference.features[:16], rtol=5e-3, atol=5e-3)
    np.testing.assert_allclose(reference.mean, reference.features.mean(0), atol=1e-2)
    np.testing.assert_allclose(reference.cov, np.cov(reference.features.T), atol=0.02 * np.trace(reference.cov) / 64)


def test_test_faces_are_near_and_damaged_ones_far(faces: Tensor, degrade: Callable[..., Tensor]) -> None:
    network, images = load_features(), faces
    reference = load_reference(network)
    good, bad = (set_metrics(network, x, reference) for x in (images, degrade(images, blur=1.5)))
    assert bad["toyfaces_fid"] > good["toyfaces_fid"] + 5 * good["toyfaces_fid_se"]
    assert bad["toyfaces_kid"] > 5 * bad["toyfaces_kid_se"]
    assert abs(good["toyfaces_kid"]) < 4 * good["toyfaces_kid_se"]
    assert (good["n"], good["reference_n"], good["warning"]) == (256, 2048, None)


def test_few_images_are_warned_of_and_two_have_no_set_metric(faces: Tensor) -> None:
    network, images = load_features(), faces[:3]
    reference = load_reference(network)
    few = set_metrics(network, images, reference)
    assert "3 images" in str(few["warning"])
    assert all(np.isfinite(value) for value in few.values() if isinstance(value, float))
    assert {"toyfaces_fid", "toyfaces_fid_se", "toyfaces_kid", "toyfaces_kid_se"} <= set(few)
    two = set_metrics(network, images[:2], reference)
    assert "toyfaces_fid" not in two and two["n"] == 2 and two["warning"]


def test_other_data_sets_are_compared_with_their_own_truths(faces: Tensor) -> None:
    network, truths = load_features(), faces[:80]
    own = reference_for("folder", network, truths)
    result = set_metrics(network, truths, own)
    assert result["toyfaces_fid"] == pytest.approx(0, abs=1e-6)
    assert (result["reference"], result["reference_n"]) == ("the run's truths", 80)
    assert reference_for("toyfaces", network, truths).name == "2048 validation toyfaces"


def test_statistics_of_another_network_are_refused(faces: Tensor, tmp_path: Path) -> None:
    network, path = load_features(), tmp_path / "reference.safetensors"
    save_reference(reference_of(network, faces[:4], "four faces"), path)
    kept = load_reference(network, path)
    assert kept.name == "four faces" and kept.features.shape == (4, 64)
    with pytest.raises(UserError, match="made with feature network"):
        load_reference(FeatureNetwork({"a": 2}), path)
    with pytest.raises(UserError, match="missing"):
        load_reference(network, tmp_path / "none.safetensors")
