"""Semantic calibration: how often draws show an attribute, against how often the truth has it.

A network reads one class of each draw; the classes of the truths are known. The network errs, by a confusion matrix
known from clean images. And K draws leave a share uncertain: truths have a rare attribute more often than its share of
0 says, even where all is calibrated. The scores here are corrected for both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

BINS = 5
FLIPS = 1000


@dataclass(frozen=True)
class Readings:
    """One attribute of n images: classes read from their draws, `reads` (n,K), classes of the truths (n,).

    `confusion` (C,C) has the share of clean images of a class (row) that are read as each class (column); the unit
    matrix is a network without errors. `images` (n,) are their ids or numbers, by default 0..n-1. `odds` (n,1+K,C),
    where known, are the classes' log-odds that the network gives the true image and its draws.
    """

    reads: np.ndarray
    truth: np.ndarray
    confusion: np.ndarray
    images: np.ndarray | None = None
    odds: np.ndarray | None = None

    @property
    def ids(self) -> np.ndarray:
        return np.arange(len(self.truth)) if self.images is None else self.images

    @property
    def weights(self) -> np.ndarray:
        """The weights (n,K,C) of the draws for each class. Raises ValueError where two classes are read alike."""
        if np.linalg.cond(self.confusion) > 1e6:
            raise ValueError("the network reads two classes alike: the attribute cannot be judged")
        return np.linalg.inv(self.confusion)[self.reads]

    @property
    def known(self) -> np.ndarray:
        """The truths as (n,C) of zeros and ones."""
        return np.eye(len(self.confusion))[self.truth]


@dataclass(frozen=True)
class Reliability:
    """The reliability curve by bins of the draws' share (corrected for the network's errors), empty ones left out.

    `frequency` of the attribute among truths with its 95 % Wilson interval `low`, `high`, and the frequency `expected`
    of a calibrated sampler with as many draws; `images`, how many (times classes or attributes) are in a bin. `ece`,
    the expected calibration error, is the mean absolute difference of truths and expected ones by bins. A calibrated
    sampler has `ece_floor` on average, and as much as `ece` with probability `p`.
    """

    share: np.ndarray
    frequency: np.ndarray
    low: np.ndarray
    high: np.ndarray
    expected: np.ndarray
    images: np.ndarray
    ece: float
    ece_floor: float
    p: float


def confusion_matrix(reads: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """The share of clean images of each class (row) read as each class (column), from classes (m,).

    Raises ValueError where a class has no image.
    """
    counts = np.zeros((classes, classes))
    np.add.at(counts, (truth, reads), 1)
    if not counts.sum(axis=1).all():
        raise ValueError(f"no clean image has class {int(counts.sum(axis=1).argmin())}")
    return counts / counts.sum(axis=1, keepdims=True)


def class_shares(readings: Readings) -> np.ndarray:
    """The corrected share (n,C) of each class among the draws of each image, in [0, 1] and of sum 1."""
    clipped = readings.weights.mean(axis=1).clip(0, 1)
    return clipped / clipped.sum(axis=1, keepdims=True)


def brier(readings: Readings) -> np.ndarray:
    """Half the squared distance (n,) of shares and truth: the Brier score (p - y)^2 of two classes. 0 is best.

    Less the part that K draws and errors of the network cause, so that on average it is the score of infinitely many
    draws read without error (Ferro 2014, for a network with errors); of one image it may be negative. K is at least 2.
    """
    weights, draws = readings.weights, readings.reads.shape[1]
    distance = np.square(weights.mean(axis=1) - readings.known).sum(axis=1)
    return (distance - weights.var(axis=1, ddof=1).sum(axis=1) / draws) / 2


def log_score(readings: Readings) -> np.ndarray:
    """- log of the share of the truth's class (n,), in nats; 0 is best.

    Half a draw is added to each class (Krichevsky & Trofimov 1981), or one truth that no draw shows would cost
    infinitely much. So it depends on K: compare runs of equal K only.
    """
    draws, classes = readings.reads.shape[1], len(readings.confusion)
    share = (draws * class_shares(readings) + 0.5) / (draws + classes / 2)
    return -np.log(np.take_along_axis(share, readings.truth[:, None], axis=1)[:, 0])


def reliability(attributes: Sequence[Readings]) -> Reliability:
    """The reliability curve of one attribute, or of several together, of which an image may have some.

    Of two classes the second one counts, of more each one. Where calibrated, the truth, as the network would read it,
    and its K draws are exchangeable: if T of all have the class, the truth is one of them with probability T/(K+1).
    `expected` and `ece` use this in place of the share, which is biased for few draws; for many, both are the same. `p`
    is of differences with random signs, one an image, for an image's classes and attributes depend on each other;
    Wilson's interval takes them as independent. Raises ValueError where a class is not recognised.
    """
    ids, places = np.unique(np.concatenate([attribute.ids for attribute in attributes]), return_inverse=True)
    ends = np.cumsum([len(attribute.truth) for attribute in attributes])
    images, share, truths, expected_images, expected = np.zeros((5, BINS + 1))
    apart = np.zeros((len(ids), BINS + 1))
    for attribute, own in zip(attributes, np.split(places, ends[:-1]), strict=True):
        draws, classes = attribute.reads.shape[1], len(attribute.confusion)
        for which in [1] if classes == 2 else range(classes):
            shown, known = (attribute.reads == which).sum(axis=1), attribute.truth == which
            read = attribute.confusion[attribute.truth, which]  # the probability that the truth is read so
            wrong = read[~known].mean() if not known.all() else 0.0
            gain = attribute.confusion[which, which] - wrong
            if gain < 0.01:
                raise ValueError(f"the network does not recognise class {which}: the attribute cannot be judged")
            same, lower, higher = (_bins(count / draws) for count in (shown, shown - 1, shown + 1))
            # Any of the K + 1 may be the truth: one that is read so leaves T - 1 draws that are, another leaves T.
            one = _rows(read * (shown + 1), same) + _rows((1 - read) * shown, lower)
            other = _rows((1 - read) * (draws + 1 - shown), same) + _rows(read * (draws - shown), higher)
            one, other = one / (draws + 1), other / (draws + 1)
            apart[own] += (_rows(read, same) - one) / gain
            images += same.sum(axis=0)
            share += _rows((shown / draws - wrong) / gain, same).sum(axis=0)
            truths += _rows(known, same).sum(axis=0)
            expected += ((one - wrong * (one + other)) / gain).sum(axis=0)
            expected_images += (one + other).sum(axis=0)
    signs = np.random.default_rng(0).choice((-1.0, 1.0), size=(FLIPS, len(ids)))
    flipped = np.abs(signs @ apart).sum(axis=1) / images.sum()
    ece = float(np.abs(apart.sum(axis=0)).sum() / images.sum())
    seen = images > 0
    low, high = wilson(truths[seen], images[seen])
    return Reliability(
        share=(share[seen] / images[seen]).clip(0, 1),
        frequency=truths[seen] / images[seen],
        low=low,
        high=high,
        expected=(expected[seen] / expected_images[seen]).clip(0, 1),
        images=images[seen],
        ece=ece,
        ece_floor=float(flipped.mean()),
        p=float((1 + (flipped >= ece - 1e-12).sum()) / (1 + FLIPS)),
    )


def wilson(successes: np.ndarray, trials: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's interval (Wilson 1927) of a probability, from successes of trials, which need not be whole."""
    z = stats.norm.ppf((1 + level) / 2)
    share, shrink = successes / trials, 1 + z**2 / trials
    middle = (share + z**2 / (2 * trials)) / shrink
    half = z / shrink * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    return np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)


def _bins(shares: np.ndarray) -> np.ndarray:
    """The bins of shares (n,) as (n, BINS + 1) of zeros and ones: the nearest of 0, 1/BINS, ..., 1."""
    return np.eye(BINS + 1)[np.rint(BINS * shares.clip(0, 1)).astype(int)]


def _rows(values: np.ndarray, bins: np.ndarray) -> np.ndarray:
    return values[:, None] * bins
