"""Every choice in conf/ goes with every other: methods, tasks, data sets and variants compose in pairs and exist."""

import re
from collections.abc import Mapping
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from omegaconf import OmegaConf
from PIL import Image

from ldsmc_bench.composition import CONF
from ldsmc_bench.errors import UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.problem.measurement import measure
from ldsmc_bench.settings import Settings, checked, keywords, made, telling
from tests.commands import choices, configured

IMAGES = [dataset for dataset in choices("dataset") if dataset != "mixture"]
# What three of them decide together is a row of conf/tuned, and these are looked at by themselves.
PAIRS = [
    *product(choices("method"), choices("task"), ["toyfaces"]),
    *product(choices("method"), ["sr8"], IMAGES),
    *product(["ldsmc"], choices("task"), IMAGES),
    *product(choices("method"), ["linear"], ["mixture"]),
]


def variants(method: str) -> list[str]:
    return [str(name) for name in configured(f"method={method}").method.get("variants", ["default"])]


@pytest.mark.parametrize(("method", "task", "dataset"), sorted(set(PAIRS)))
def test_every_pair_composes_and_passes_its_checks(method: str, task: str, dataset: str) -> None:
    cfg = configured(f"method={method}", f"task={task}", f"dataset={dataset}")
    settings = checked(cfg)
    assert [settings.config[group]["name"] for group in ("method", "task", "dataset")] == [method, task, dataset]
    sample = made(cfg.method.sample)
    assert callable(sample)
    assert sample.keywords == settings.sample


TUNED = sorted(
    path for path in (CONF / "tuned").glob("*/*.yaml") if path.parent.name not in ("toyfaces_grid", "mixture")
)


@pytest.mark.parametrize("tuned", TUNED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_table_of_tuned_numbers_has_a_row_for_every_task(tuned: Path) -> None:
    other = yaml.safe_load(tuned.read_text()).get("defaults", [None])[0]  # another method's table
    table = yaml.safe_load((tuned.parent / f"{other.removesuffix('@_here_')}.yaml" if other else tuned).read_text())
    assert {yaml.safe_load((CONF / "task" / f"{task}.yaml").read_text())["tuning"] for task in choices("task")} <= set(
        table
    )
    assert len({tuple(row) for row in table.values()}) == 1


@pytest.mark.parametrize(("method", "dataset"), list(product(choices("method"), choices("dataset"))))
def test_every_variant_passes_its_checks(method: str, dataset: str) -> None:
    for variant in variants(method):
        settings = checked(configured(f"method={method}", f"dataset={dataset}", f"variant={variant}"))
        assert settings.config["variant"] == variant


@pytest.mark.parametrize("method", choices("method"))
def test_every_argument_of_a_sampler_has_its_place_in_the_configuration(method: str) -> None:
    cfg = configured(f"method={method}")
    assert keywords(made(cfg.method.sample).func).keys() == checked(cfg).sample.keys()


@pytest.mark.parametrize("method", choices("method"))
def test_every_variant_computes_something_else(method: str) -> None:
    """But for those that the file makes another's name: `default: *paper`."""
    lines = (CONF / "method" / f"{method}.yaml").read_text()
    others_names = {name for name in variants(method) if re.search(rf"^  {name}: *\*", lines, re.MULTILINE)}
    samples: dict[str, Mapping[str, Any]] = {
        variant: checked(configured(f"method={method}", "task=gaussian_deblur", f"variant={variant}")).sample
        for variant in variants(method)
        if variant not in others_names
    }
    assert len(samples) > 1 or not variants(method)[1:]
    assert all(a != b for a, b in combinations(samples.values(), 2))


@pytest.mark.parametrize("task", choices("task"))
def test_every_task_measures_an_image_of_every_prior(task: str) -> None:
    for prior in [prior for prior in choices("prior") if prior != "mixture"]:
        cfg = configured(f"task={task}", f"prior={prior}")
        side = cfg.prior.image_size
        measurement = measure(
            torch.zeros(1, 3, side, side),
            made(cfg.task.operator),
            Noise(0, ["a"], "s"),
            noise_std=cfg.task.noise_std,
            noise_in_hole=cfg.measurement.noise_in_hole,
        )
        assert torch.isfinite(measurement.y).all()
        assert 0 < measurement.y.std() <= 1.2 * cfg.task.noise_std


@pytest.mark.parametrize("dataset", choices("dataset"))
def test_every_dataset_loads_or_says_what_it_lacks(dataset: str, tmp_path: Path) -> None:
    Image.new("RGB", (90, 70)).save(tmp_path / "a.png")
    root = (f"dataset.root={tmp_path}",) if "root" in configured(f"dataset={dataset}").dataset else ()
    cfg = configured(f"dataset={dataset}", *root)
    try:
        data = made(cfg.dataset.load)
    except UserError as error:
        assert dataset in ("ffhq", "imagenet"), error  # whose pictures have names of their own
        assert "dataset." in str(error) and len(str(error).splitlines()) == 1
        return
    assert data.name == dataset
    assert data.load(data.ids[0]).shape == (cfg.dataset.get("dx", 3), cfg.prior.image_size, cfg.prior.image_size)


def test_vectors_are_measured_by_their_own_task_alone() -> None:
    assert checked(configured("dataset=mixture")).config["task"]["name"] == "linear"
    with pytest.raises(UserError, match="task=box: dataset=mixture is measured by task=linear alone"):
        checked(configured("dataset=mixture", "task=box"))


def test_an_argument_at_a_samplers_own_default_names_no_run() -> None:
    sample = checked(configured("variant=paper")).config["method"]["sample"]
    assert not {"twist", "islands", "evidence"} & telling(sample).keys() and "kappa1" in telling(sample)
    assert telling(sample | {"islands": 2}).keys() - telling(sample).keys() == {"islands"}


@pytest.mark.parametrize("prior", choices("prior"))
def test_every_prior_loads_or_says_in_one_line_what_it_lacks(prior: str) -> None:
    cfg = configured(f"prior={prior}", *(["dataset=mixture"] if prior == "mixture" else []))
    try:
        loaded = made(cfg.prior.load)
    except UserError as error:
        assert "toyfaces" not in prior, error  # what is embedded is there
        assert len(str(error).splitlines()) == 1
    else:
        assert loaded.image_size == cfg.prior.image_size
        decoded = loaded.decode(torch.zeros(1, *loaded.shape))
        assert decoded.shape == (1, cfg.dataset.get("dx", 3), loaded.image_size, loaded.image_size)


@pytest.mark.parametrize("experiment", ["ffhq", "imagenet"])
def test_every_point_of_a_papers_table_composes(experiment: str) -> None:
    for settings in points(experiment):
        assert (settings.config["variant"], settings.n_images) == ("released", 1024)
        assert settings.config["prior"]["name"] == f"ldm_{experiment}"


def test_toyfaces_are_compared_on_test_faces_with_the_steps_that_they_are_tuned_for() -> None:
    (compared,), (tuned,) = (
        {(settings.sample["steps"], settings.n_images) for settings in points(experiment)}
        for experiment in ("toyfaces", "tune_toyfaces")
    )
    assert compared == tuned == (configured().steps, 64)
    splits = [configured(f"experiment={name}").dataset.split for name in ("toyfaces", "tune_toyfaces")]
    assert splits == ["test", "validation"]


def points(experiment: str) -> list[Settings]:
    """Every method and task that an experiment sweeps over."""
    swept = OmegaConf.load(CONF / "experiment" / f"{experiment}.yaml").hydra.sweeper.params
    return [
        checked(configured(f"experiment={experiment}", f"method={method}", f"task={task}"))
        for method, task in product(swept.method.split(","), swept.task.split(","))
    ]
