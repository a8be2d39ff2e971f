"""Attributes behind a hole: which they are, and draws of them that are calibrated or too sure."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from ldsmc_bench.calibration.reliability import Readings, brier, class_shares, reliability
from ldsmc_bench.calibration.sbc import sbc_values, uniformity
from ldsmc_bench.toyfaces import LABELS, array, attributes, ids, labels, paint
from ldsmc_bench.toyfaces.assets import training_facts
from ldsmc_bench.toyfaces.attributes import VALUES
from ldsmc_bench.toyfaces.features import WEIGHTS, features_of, load_features
from ldsmc_bench.toyfaces.semantics import confusion, hidden_attributes, log_odds, readings, scores

CHOSEN, DRAWS = ids("test")[:32], 8


def hole(top: int, bottom: int, left: int = 0, right: int = 64) -> Tensor:
    mask = torch.zeros(3, 64, 64, dtype=torch.bool)
    mask[:, top:bottom, left:right] = True
    return mask


EYES, MIDDLE = hole(22, 44), hole(22, 50, 8, 56)


def test_a_hole_over_the_eyes_hides_glasses_but_not_hair() -> None:
    with_hair = [image_id for image_id in CHOSEN if attributes(image_id).hair_style != "bald"]
    for image_id in with_hair[:4]:
        hidden = hidden_attributes(image_id, EYES)
        assert "glasses" in hidden
        assert {"hair_style", "hair_colour", "hat", "mouth", "collar", "background"}.isdisjoint(hidden)
    bald = next(image_id for image_id in CHOSEN if attributes(image_id).hair_style == "bald")
    assert "hair_colour" in hidden_attributes(bald, EYES)  # of the brows alone


def test_what_shows_nowhere_is_not_hidden_by_the_hole() -> None:
    behind = next(image_id for image_id in ids("test") if attributes(image_id).glasses == "sunglasses")
    before = next(image_id for image_id in ids("test") if attributes(image_id).glasses == "none")
    assert "eye_colour" not in hidden_attributes(behind, EYES)
    assert "eye_colour" in hidden_attributes(before, EYES)
    assert {"glasses", "hat", "light"} <= set(hidden_attributes(behind, hole(0, 64)))
    assert hidden_attributes(behind, hole(0, 0)) == []


def test_each_class_has_a_value() -> None:
    assert {name: len(values) for name, values in VALUES.items()} == LABELS
    assert VALUES["yaw"] == (-0.625, 0.0, 0.625) and VALUES["earrings"] == (0, 1)


def test_confusion_is_that_of_the_network_on_validation_faces() -> None:
    made = training_facts(WEIGHTS)["validation_accuracy"]
    known = np.stack([labels(image_id) for image_id in ids("validation")])
    for (name, classes), column in zip(LABELS.items(), known.T, strict=True):
        matrix = confusion(name)
        np.testing.assert_allclose(matrix.sum(axis=1), 1)
        frequency = np.bincount(column, minlength=classes) / len(column)
        assert matrix.diagonal() @ frequency == pytest.approx(made[name], abs=0.015)


def test_the_network_reads_drawn_faces() -> None:
    images = torch.from_numpy(np.stack([array(image_id) for image_id in CHOSEN])).permute(0, 3, 1, 2)
    reads = {name: odds.argmax(axis=1) for name, odds in log_odds(features_of(load_features(), images)).items()}
    right = {name: np.mean(reads[name] == [labels(i)[k] for i in CHOSEN]) for k, name in enumerate(LABELS)}
    assert list(right) == list(reads) and min(right.values()) > 0.7
    assert min(right[name] for name in ("glasses", "hat", "beard", "collar")) > 0.9


@cache
def posterior() -> dict[str, Tensor]:
    """Faces whose hidden attributes, all independent of what is seen, are drawn anew by their laws."""
    weights = {"glasses": (60, 11, 11, 8, 10), "eye_colour": (45, 22, 20, 13), "mouth": (38, 24, 24, 14)}
    rng = np.random.default_rng(0)
    drawn = {}
    for image_id in CHOSEN:
        faces = []
        for _ in range(DRAWS):
            face = attributes(image_id)
            for name in sorted({*weights, "nose"} & set(hidden_attributes(image_id, MIDDLE))):  # the same each time
                p = np.array(weights.get(name, (1, 1, 1)), dtype=float)
                face = replace(face, **{name: VALUES[name][rng.choice(len(p), p=p / p.sum())]})
            faces.append(paint(face))
        drawn[image_id] = torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2)
    return drawn


REDRAWN = ("glasses", "eye_colour", "mouth")


def of(draws: Mapping[str, Tensor], read_truths: bool) -> dict[str, Readings]:
    found = readings(draws, dict.fromkeys(draws, MIDDLE), read_truths=read_truths)
    return {name: found[name] for name in (*REDRAWN, "nose") if name in found}


@cache
def right(read_truths: bool) -> dict[str, Readings]:
    return of(posterior(), read_truths)


@pytest.mark.parametrize("read_truths", [False, True])
def test_draws_by_the_law_of_the_faces_are_calibrated(read_truths: bool) -> None:
    found = right(read_truths)
    assert tuple(found) == (*REDRAWN, "nose")[: 3 + read_truths]  # too many noses are misread
    for name, attribute in found.items():
        assert attribute.reads.shape == (len(attribute.truth), DRAWS) and len(attribute.truth) >= 25
        assert reliability([attribute]).p > 0.05, name
    shares = class_shares(found["glasses"]).mean(axis=0)
    np.testing.assert_allclose(shares, [0.6, 0.11, 0.11, 0.08, 0.1], atol=0.1)
    glasses, eyes = scores(found)[:2]
    assert (glasses["attribute"], glasses["draws"], glasses["images"]) == ("glasses", 8, len(found["glasses"].truth))
    assert eyes["read"] == "97 92 91 92"


@pytest.mark.parametrize("read_truths", [False, True])
def test_draws_that_are_one_guess_are_not(read_truths: bool) -> None:
    wrong = of({image_id: draws[:1].expand(DRAWS, -1, -1, -1) for image_id, draws in posterior().items()}, read_truths)
    for name, attribute in wrong.items():
        assert reliability([attribute]).p < 0.01, name
        assert brier(attribute).mean() > 1.3 * brier(right(read_truths)[name]).mean()
    assert min(row["p"] for row in scores(wrong)) < 0.0015


def test_log_odds_of_draws_by_the_law_of_the_faces_are_ranked_evenly_and_those_of_one_guess_are_not() -> None:
    rng = np.random.default_rng(0)
    one_guess = of({image_id: draws[:1].expand(DRAWS, -1, -1, -1) for image_id, draws in posterior().items()}, False)
    even, uneven = (
        [
            uniformity(np.array([sbc_values(odds[1:], odds[0], rng)[which] for odds in attribute.odds])).p
            for attribute in found.values()
            for which in range(attribute.odds.shape[2])
        ]
        for found in (right(False), one_guess)
    )
    assert len(even) == 13 and min(even) > 0.05 / 13
    assert max(uneven) < 0.001


def test_attributes_of_few_images_are_left_out() -> None:
    few = dict(list(posterior().items())[:3])
    hidden = dict.fromkeys(few, MIDDLE)
    assert readings(few, hidden) == {} and "mouth" in readings(few, hidden, least=3)
