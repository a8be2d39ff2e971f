"""Semantic calibration: how often draws show an attribute that the measurement hides, and how often the truth has it.

The truths' attributes are known exactly. Those of the draws are read by the feature network, whose errors on clean
faces are known too, and `calibration.reliability` corrects for them. It takes the errors of two draws as independent,
but a nose that is hard to read in one draw of a face is so in all: faces drawn from the exact posterior seem too sure
of their noses. So attributes that the network often misreads are judged only with truths that it reads as well.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache, lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ldsmc_bench.calibration.reliability import Readings, brier, confusion_matrix, log_score, reliability
from ldsmc_bench.scoring.reference import find_reference
from ldsmc_bench.toyfaces.attributes import LABELS, VALUES, Face, attributes, ids, labels
from ldsmc_bench.toyfaces.canvas import SIZE
from ldsmc_bench.toyfaces.drawing import array, paint
from ldsmc_bench.toyfaces.features import features_of, load_features, space

SHARE = 0.95  # of the change, within the hole
RECOGNISED = 0.9  # of the clean faces of each class
LEAST = 8  # images


def hidden_attributes(image_id: str, hidden: Tensor) -> list[str]:
    """The attributes of a face that a hole hides: its entries `hidden` are bool (3,64,64).

    The face is drawn anew with each class of one attribute, all else equal. The attribute is hidden if the hole has at
    least 95 % of the squared difference of every two of these pictures. All pairs count, not the truth's alone: were
    images chosen by the truth's class, calibrated draws would seem wrong. An attribute that shows in none, such as
    the colour of eyes behind sunglasses, is not hidden by the hole. Takes 0.2 s (some 50 drawings) and is remembered.
    Raises UserError for a bad id.
    """
    return list(_hidden_attributes(image_id, np.asarray(hidden, dtype=bool).tobytes()))


@lru_cache(maxsize=2048)
def _hidden_attributes(image_id: str, hidden: bytes) -> tuple[str, ...]:
    face, hole = attributes(image_id), np.frombuffer(hidden, dtype=bool).reshape(3, SIZE, SIZE).transpose(1, 2, 0)
    return tuple(name for name in LABELS if _is_hidden(face, name, hole))


def _is_hidden(face: Face, name: str, hole: np.ndarray) -> bool:
    pictures: list[np.ndarray] = []
    shows = False
    for value in VALUES[name]:
        picture = paint(replace(face, **{name: value})).astype(np.float64)
        for other in pictures:
            change = np.square(picture - other)
            if change[hole].sum() < SHARE * change.sum():
                return False
            shows = shows or bool(change.any())
        pictures.append(picture)
    return shows


def log_odds(features: np.ndarray) -> dict[str, np.ndarray]:
    """log p / (1 - p) (n,C) of every class of every attribute, as the network gives them for features (n,F)."""
    network, inputs = load_features(), torch.from_numpy(features).float()
    with torch.no_grad():
        logs = {name: head(inputs).double().log_softmax(dim=1) for name, head in network.heads.items()}
    return {name: (log - torch.log1p(-log.exp().clamp(max=1 - 1e-12))).numpy() for name, log in logs.items()}


def confusion(attribute: str) -> np.ndarray:
    """The share (C,C) of the 2,048 validation faces of a class (row) that the network reads as each class (column).

    Their features are among the shipped weights, so no face is drawn.
    """
    reads, truths = _clean()
    return confusion_matrix(reads[attribute], truths[attribute], LABELS[attribute])


@cache
def _clean() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The classes of all validation faces: those that the network reads, and the true ones."""
    shipped = find_reference("toyfaces", SIZE, space())
    assert shipped is not None
    truths = np.stack([labels(image_id) for image_id in ids("validation")])
    reads = {name: odds.argmax(axis=1) for name, odds in log_odds(shipped.features).items()}
    return reads, dict(zip(LABELS, truths.T, strict=True))


def readings(
    draws: Mapping[str, Tensor], hidden: Mapping[str, Tensor], *, least: int = LEAST, read_truths: bool = False
) -> dict[str, Readings]:
    """The attributes that at least `least` images hide, each with its readings of those images in the order of `draws`.

    By image id, `draws` are uint8 (K,3,64,64), with one K for all, and `hidden` are the entries, bool (3,64,64), that
    the measurement hides. Truths are the known classes, of those attributes that the network recognises in 90 % of the
    clean faces of each class. With `read_truths` they are the network's readings of the true faces, of all attributes:
    errors that truth and draws share then need no correction. Raises UserError for a bad id.
    """
    odds: dict[str, list[np.ndarray]] = {name: [] for name in LABELS}
    truths: dict[str, list[int]] = {name: [] for name in LABELS}
    hiding: dict[str, list[str]] = {name: [] for name in LABELS}
    for image_id, images in draws.items():
        if names := hidden_attributes(image_id, hidden[image_id]):
            truth = torch.from_numpy(array(image_id)).permute(2, 0, 1)
            seen, known = log_odds(features_of(load_features(), torch.cat([truth[None], images]))), labels(image_id)
            for name in names:
                hiding[name].append(image_id)
                odds[name].append(seen[name])
                truths[name].append(int(seen[name][0].argmax() if read_truths else known[list(LABELS).index(name)]))
    return {
        name: Readings(
            np.stack(odds[name])[:, 1:].argmax(axis=2),
            np.array(truths[name]),
            np.eye(classes) if read_truths else confusion(name),
            np.array(hiding[name]),
            np.stack(odds[name]),
        )
        for name, classes in LABELS.items()
        if len(truths[name]) >= max(1, least) and (read_truths or confusion(name).diagonal().min() >= RECOGNISED)
    }


def scores(attributes: Mapping[str, Readings]) -> list[dict[str, Any]]:
    """A row of scores for each attribute; `read` are the shares, in per cent, of each class that is read rightly."""
    rows = []
    for name, readings in attributes.items():
        curve = reliability([readings])
        rows.append(
            {
                "attribute": name,
                "images": len(readings.truth),
                "draws": readings.reads.shape[1],
                "brier": float(brier(readings).mean()),
                "log_score": float(log_score(readings).mean()),
                "ece": curve.ece,
                "ece_floor": curve.ece_floor,
                "p": curve.p,
                "read": " ".join(f"{100 * share:.0f}" for share in confusion(name).diagonal()),
            }
        )
    return rows
