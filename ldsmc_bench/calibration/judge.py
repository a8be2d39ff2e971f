"""The scores of a run's draws, image by image, from its kept pictures; kept in the run's `draws.json`.

Its weighted particles, where they were kept, are another set of draws of the same image: correlated, for they have
ancestors in common, and of unequal weights. They are resampled to N of equal weight, and their scores kept apart, in
`particles.json`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ldsmc_bench.calibration.draws import DrawMetrics, draw_metrics
from ldsmc_bench.calibration.sbc import mean_colour, principal_coordinates, sbc_values
from ldsmc_bench.calibration.tarp import tarp_value
from ldsmc_bench.errors import UserError
from ldsmc_bench.files import pixel_digest, read_json, write_file
from ldsmc_bench.noise import Noise
from ldsmc_bench.records.particles import read_particles, with_particles
from ldsmc_bench.records.problems import OBSERVED, ProblemStore, problem_of_run, read_picture
from ldsmc_bench.records.record import Record
from ldsmc_bench.records.store import Store, draw_stores, read, read_image
from ldsmc_bench.running.conclude import find_truth
from ldsmc_bench.sampling.resampling import systematic
from ldsmc_bench.scoring.metrics import digests, load, suitable_metrics
from ldsmc_bench.scoring.reference import TRUTHS, Reference, find_reference, make_reference

VERSION = 1  # raise it when scores change, so that kept ones are computed again
COORDINATES = 3  # principal ones, whose ranks are looked at


@dataclass(frozen=True)
class Judged:
    """The scores of the draws of one image. `tarp` and `ranks`, values in [0, 1) that are uniform over images where
    calibrated, are absent where the network of the set metrics is."""

    scores: DrawMetrics
    tarp: float | None
    ranks: Mapping[str, float]


@dataclass(frozen=True)
class DrawSet:
    """An image with its draws, whose pictures are read when they are asked for: a run's do not fit into memory."""

    record: Record  # of draw 0
    stores: Sequence[Store]  # of the draws
    problems: ProblemStore | None

    @property
    def image_id(self) -> str:
        return self.record["image_id"]

    def draws(self) -> Tensor:
        """The draws, uint8 (K,3,S,S). Raises UserError for a picture that is absent or damaged."""
        pictures = np.stack([read_image(of_draw, self.image_id) for of_draw in self.stores])
        return torch.from_numpy(pictures).permute(0, 3, 1, 2)

    def truth(self) -> Tensor:
        """The true image, uint8 (3,S,S). Raises UserError where it was not kept."""
        return find_truth(self.problems, None, self.record)

    def hidden(self) -> Tensor:
        """The entries, bool (3,S,S), that the image's mask hides; all without a mask. Raises UserError where the mask
        is damaged."""
        observed = read_picture(self.problems, OBSERVED, self.image_id) if self.problems else None
        if observed is not None:
            return torch.from_numpy(observed).permute(2, 0, 1) == 0
        if self.problems and (path := self.problems.root / OBSERVED / f"{self.image_id}.png").exists():
            raise UserError(f"{path} is damaged: remove it and the run's records of the image, and run again")
        return torch.ones_like(self.truth(), dtype=torch.bool)

    def noise(self) -> Noise:
        """All random numbers of the image's scores, named by the run's problem and the image."""
        problem = f"{self.record['dataset']}/{self.record['task']}"
        return Noise(self.record["seed"], [self.image_id], f"calibration/{problem}")


class ParticleSet(DrawSet):
    """An image with the N weighted particles that its draw 0 was taken from."""

    def draws(self) -> Tensor:
        """The particles by systematic resampling, in random order: N of equal weight, uint8 (N,3,S,S), one as often as
        N times its weight says, rounded up or down. Raises UserError as `read_particles` does."""
        pictures, weights = read_particles(self.stores[0], self.image_id)
        [generator] = self.noise().numpy("particles")
        return torch.from_numpy(pictures[equally_weighted(weights, generator)])


def equally_weighted(weights: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The indices (N,) of particles with these weights (N,) by systematic resampling, in random order."""
    u = torch.from_numpy(generator.random((1, len(weights))))
    return generator.permutation(systematic(torch.from_numpy(weights)[None], u)[0].numpy())


def find_draws(store: Store, count: int) -> list[DrawSet]:
    """The images of which a run has `count` draws."""
    problems, stores = problem_of_run(store), draw_stores(store)[:count]
    done = [{one["image_id"]: one for one in read(of_draw) if one["status"] == "ok"} for of_draw in stores]
    if len(done) < count:
        return []
    return [
        DrawSet(record, stores, problems)
        for image_id, record in done[0].items()
        if all(image_id in of_draw for of_draw in done)
    ]


def find_particles(store: Store) -> list[DrawSet]:
    """The images whose particles a run has kept."""
    problems, there = problem_of_run(store), with_particles(store)
    done = [one for one in read(store) if one["status"] == "ok" and one["image_id"] in there]
    return [ParticleSet(record, [store], problems) for record in done]


def judge(
    store: Store, dataset: str, draws: int, images: Sequence[DrawSet], name: str = "draws.json"
) -> dict[str, Judged]:
    """The scores of `images`, those of `find_draws`, kept under this name in the run's folder. Those that are there
    already are not computed again, unless truth, mask or networks changed.

    Raises UserError where the run has no such image, or its problem was not kept.
    """
    path, kept = store.root / name, _read(store.root / name)
    if not images:
        raise UserError(f"no image has all {draws} draws; give the run's command again")
    if not any(one.problems and read_picture(one.problems, "truth", one.image_id) is not None for one in images):
        raise UserError(
            "its truths are not kept (keep_problems=false, or problems/ was removed): run any other method on the same "
            "images, task and seed with keep_problems=true, which keeps them for this run too"
        )
    side = images[0].truth().shape[-1]
    network, networks = None, digests(suitable_metrics(side))
    found: dict[str, dict[str, Any]] = {}
    for drawn in images:
        key = [VERSION, draws, drawn.record["truth"], pixel_digest(drawn.hidden().numpy()), networks]
        if drawn.image_id in kept and kept[drawn.image_id]["of"] == key:
            found[drawn.image_id] = kept[drawn.image_id]
            continue
        network = network or find_network(images, dataset, side)
        found[drawn.image_id] = {"of": key, **asdict(judge_image(drawn, network))}
    if found != kept:
        write_file(path, (json.dumps(found) + "\n").encode())
    return {image_id: judged_of(one) for image_id, one in found.items()}


def kept_scores(store: Store, draws: int, name: str = "draws.json") -> dict[str, Judged]:
    """The scores of `read_scores` of a copy of a run without its pictures; none where there are pictures, for `judge`
    to look at."""
    return {} if any((store.root / "images").glob("*.png")) else read_scores(store, draws, name)


def read_scores(store: Store, draws: int, name: str = "draws.json") -> dict[str, Judged]:
    """The kept scores of so many draws, of the truths that the records of draw 0 name."""
    if not (kept := _read(store.root / name)):
        return {}
    keys = {one["image_id"]: [VERSION, draws, one.get("truth")] for one in read(store)}
    return {image_id: judged_of(one) for image_id, one in kept.items() if one["of"][:3] == keys.get(image_id)}


def scores_by_image(judged: Mapping[str, Judged]) -> pd.DataFrame:
    """The scores of images that are no pooled ones: a row an image."""
    return pd.DataFrame.from_dict({name: one.scores.scalars() for name, one in judged.items()}, orient="index")


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """Kept scores; none where the file is absent or damaged, since all can be computed again."""
    whole = {"of", "scores", "tarp", "ranks"}
    return {name: one for name, one in read_json(path).items() if isinstance(one, dict) and whole <= one.keys()}


def judged_of(kept: Mapping[str, Any]) -> Judged:
    """The scores from JSON."""
    scores = DrawMetrics(**kept["scores"] | {"histogram": tuple(kept["scores"]["histogram"])})
    return Judged(scores, kept["tarp"], kept["ranks"])


@dataclass(frozen=True)
class Network:
    """The networks that draws are judged with, where their files are there."""

    perceptual: Any  # ImageMetric or None
    space: Any  # FeatureSpace or None
    reference: Reference | None


def find_network(images: Sequence[DrawSet], dataset: str, side: int) -> Network:
    """The perceptual metric and the feature space for images of this side, and the reference set of the data set, or
    the run's truths where it has none."""
    perceptual, space = (
        next((one for name in suitable_metrics(side, per) if (one := load(name, torch.device("cpu")))), None)
        for per in ("image", "set")
    )
    reference = find_reference(dataset, side, space) if space else None
    if space and reference is None:
        reference = make_reference(space, (one.truth() for one in images), TRUTHS)
    return Network(perceptual, space, reference)


def judge_image(drawn: DrawSet, network: Network) -> Judged:
    """The scores of one image's draws."""
    noise = drawn.noise()
    draws, truth, hidden = drawn.draws(), drawn.truth(), drawn.hidden()
    features = network.space.features if network.space else None
    [ties] = noise.numpy("ties")
    scores = draw_metrics(draws, truth, hidden, ties, features, network.perceptual)
    images = torch.cat([truth[None], draws])
    scalars = {"brightness": mean_colour(images.numpy(), hidden.numpy()).mean(axis=1)}
    tarp = None
    if features is not None and network.reference is not None:
        vectors, reference = features(images), network.reference
        axes = principal_coordinates(vectors, reference.mean, reference.cov, COORDINATES)
        scalars |= {f"principal coordinate {i + 1}": axes[:, i] for i in range(axes.shape[1])}
        [generator] = noise.numpy("tarp")
        others = reference.features[~(reference.features == vectors[0]).all(axis=1)]
        if len(others):
            tarp = tarp_value(vectors[1:], vectors[0], others[generator.integers(len(others))], generator)
    ranks = {}
    for name, values in scalars.items():
        [generator] = noise.numpy(f"ranks/{name}")
        ranks[name] = float(sbc_values(values[1:], values[0], generator))
    return Judged(scores, tarp, ranks)
