from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ldsmc_bench import toyfaces
from ldsmc_bench.errors import UserError
from ldsmc_bench.scoring.metrics import set_metrics
from ldsmc_bench.scoring.reference import FeatureSpace, find_reference, load_reference, make_reference, save_reference
from ldsmc_bench.toyfaces import features
from ldsmc_bench.toyfaces.features import features_of, load_features


def test_shipped_statistics_are_those_of_validation_faces() -> None:
    network, reference = load_features(), find_reference("toyfaces", 64, features.space())
    assert reference is not None
    assert reference.features.shape == (2048, 64)
    drawn = np.stack([toyfaces.array(image_id) for image_id in toyfaces.ids("validation")[:16]])
    images = torch.from_numpy(drawn).permute(0, 3, 1, 2)
    np.testing.assert_allclose(features_of(network, images), reference.features[:16], rtol=5e-3, atol=5e-3)
    np.testing.assert_allclose(reference.mean, reference.features.mean(0), atol=1e-2)
    np.testing.assert_allclose(reference.cov, np.cov(reference.features.T), atol=0.02 * np.trace(reference.cov) / 64)


@pytest.fixture(scope="module")
def space() -> FeatureSpace:
    return features.space()


def test_test_faces_are_near_and_damaged_ones_far(
    space: FeatureSpace, faces: Tensor, degrade: Callable[..., Tensor]
) -> None:
    reference = load_reference(space, features.STATISTICS, "")
    good, bad = (set_metrics(space, x, reference) for x in (faces, degrade(faces, blur=1.5)))
    assert bad["toyfaces_fid"] > good["toyfaces_fid"] + 5 * good["toyfaces_fid_se"]
    assert bad["toyfaces_kid"] > 5 * bad["toyfaces_kid_se"]
    assert abs(good["toyfaces_kid"]) < 4 * good["toyfaces_kid_se"]
    for name in ("toyfaces_fid", "toyfaces_kid"):
        assert bad[f"{name}_low"] < bad[name] < bad[f"{name}_high"]
        assert good[f"{name}_high"] < bad[f"{name}_low"]
    assert (good["n"], good["reference_n"], good["warning"]) == (256, 2048, None)
    assert good["network"] == load_features().digest


def test_few_images_are_warned_of_and_two_have_no_set_metric(space: FeatureSpace, faces: Tensor) -> None:
    reference = load_reference(space, features.STATISTICS, "")
    few = set_metrics(space, faces[:3], reference)
    assert "3 images" in str(few["warning"])
    assert all(np.isfinite(value) for value in few.values() if isinstance(value, float))
    assert {"toyfaces_fid", "toyfaces_fid_se", "toyfaces_kid", "toyfaces_kid_se"} <= set(few)
    two = set_metrics(space, faces[:2], reference)
    assert "toyfaces_fid" not in two and two["n"] == 2 and two["warning"]


def test_other_data_sets_are_compared_with_their_own_truths(space: FeatureSpace, faces: Tensor) -> None:
    truths = faces[:80]
    assert find_reference("folder", 64, space) is None
    result = set_metrics(space, truths, make_reference(space, truths, "their truths"))
    assert result["toyfaces_fid"] == pytest.approx(0, abs=1e-6)
    assert (result["reference"], result["reference_n"]) == ("their truths", 80)
    shipped = find_reference("toyfaces", 64, space)
    assert shipped is not None and shipped.name == "2048 validation toyfaces"


def test_statistics_of_another_network_are_refused(space: FeatureSpace, faces: Tensor, tmp_path: Path) -> None:
    path = tmp_path / "reference.safetensors"
    save_reference(make_reference(space, faces[:4], "four faces"), path)
    kept = load_reference(space, path, "make it anew")
    assert kept.name == "four faces" and kept.features.shape == (4, 64) and kept.n == 4
    with pytest.raises(UserError, match="made with feature network"):
        load_reference(replace(space, digest="another"), path, "make it anew")
    with pytest.raises(UserError, match="not the statistics"):
        load_reference(space, tmp_path / "none.safetensors", "make it anew")
    path.write_bytes(b"no statistics")
    with pytest.raises(UserError, match="not the statistics of a reference set"):
        load_reference(space, path, "make it anew")
