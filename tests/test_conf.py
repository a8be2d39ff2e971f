"""Every choice in conf/ goes with every other: methods, tasks, data sets and variants compose in pairs and exist."""

import hashlib
import math
import re
from itertools import combinations, cycle, product
from pathlib import Path

import pytest
import torch
import yaml
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, ListConfig, OmegaConf
from PIL import Image

from ldsmc_bench.config import Settings, instantiate, validate
from ldsmc_bench.errors import UserError
from ldsmc_bench.files import CONF
from ldsmc_bench.noise import Noise
from ldsmc_bench.problem.measurement import measure
from ldsmc_bench.records.identity import sampler_arguments
from ldsmc_bench.tuning.trials import present_value, row_key
from tests.commands import choices, configured, every_choice

CONTAINERS = ("arrays", "huggingface", "webdataset")
IMAGES = [dataset for dataset in choices("dataset") if dataset != "mixture"]
KNOWN = ("mixture", "learned")  # the priors of vectors
# Of the deviation of y where x is 0, over the noise's: two entries say little, and those of quantise are steps.
MOST = {"phase": 2.0, "clip": 2.0, "quantise": math.inf}
# Every method and every task with one data set each: what a method decides on each of them is in the golden ids.
PAIRS = [
    *zip(choices("method"), cycle(["sr8"]), cycle(IMAGES), strict=False),
    *product(choices("method"), ["linear"], ["mixture"]),
    *product(["ldsmc", "dps"], ["phase", "clip", "quantise"], ["mixture"]),
    *((method, task, "toyfaces") for method, task in zip(cycle(choices("method")), choices("task"), strict=False)),
]


@pytest.mark.parametrize(("method", "task", "dataset"), sorted(set(PAIRS)))
def test_every_pair_composes_and_passes_its_checks(method: str, task: str, dataset: str) -> None:
    cfg = configured(f"method={method}", f"task={task}", f"dataset={dataset}")
    settings = validate(cfg)
    assert [settings.config[group]["name"] for group in ("method", "task", "dataset")] == [method, task, dataset]
    sample = instantiate(cfg.method.sample)
    assert callable(sample)
    assert sample.keywords == settings.sample


@pytest.mark.parametrize("method", choices("method"))
def test_every_variant_is_a_file_that_passes_its_checks(method: str) -> None:
    assert list(configured(f"method={method}").method.variants) == choices(f"variant/{method}")
    for variant in choices(f"variant/{method}"):
        assert variant in choices("variant")
        assert validate(configured(f"method={method}", f"variant={variant}")).config["variant"] == variant


TUNED = sorted(path for path in (CONF / "tuned").glob("*/*.yaml") if path.parent.name != "mixture")


@pytest.mark.parametrize("tuned", TUNED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_method_has_its_arguments_for_every_task_by_every_table_that_it_has(tuned: Path) -> None:
    cfg = configured(f"method={tuned.stem}", f"prior.tuning={tuned.parent.name}")
    assert tuned.parent.name in cfg.method.tuning
    for task in choices("task"):
        cfg.task.tuning = yaml.safe_load((CONF / "task" / f"{task}.yaml").read_text())["tuning"]
        assert OmegaConf.to_container(cfg.method.sample, resolve=True)


@pytest.mark.parametrize("method", choices("method"))
def test_every_argument_of_a_sampler_has_its_place_in_the_configuration(method: str) -> None:
    cfg = configured(f"method={method}")
    assert sampler_arguments(instantiate(cfg.method.sample).func).keys() == validate(cfg).sample.keys()


@pytest.mark.parametrize("method", choices("method"))
def test_the_space_of_a_tuner_is_of_arguments_and_has_the_default_in_it(method: str) -> None:
    """Its ends pass the checks of a run."""
    cfg = configured(f"method={method}")
    defaults, search = validate(cfg).sample, OmegaConf.to_container(cfg.method.search)
    assert isinstance(search, dict) and search
    for key, space in search.items():
        ends = space if isinstance(space, list) else [space["low"], space["high"]]
        for end in ends:
            cfg.method.sample[key] = end
            assert validate(cfg).sample[key] == end
        if isinstance(space, dict):
            assert space.keys() <= {"low", "high", "log", "calls"} and type(ends[0]) is type(ends[1])
            assert (ends[0] > 0 or not space.get("log")) and ends[0] < ends[1]
            assert isinstance(defaults[key], str) or ends[0] <= defaults[key] <= ends[1]
        else:
            assert defaults[key] in ends and len(ends) > 1


@pytest.mark.parametrize("method", choices("method"))
def test_the_default_variant_reads_all_that_a_tuner_searches_from_its_row(method: str) -> None:
    cfg = configured(f"method={method}")
    for key, space in cfg.method.search.items():
        ends = space if isinstance(space, ListConfig) else [space.low, space.high]
        other = next(end for end in ends if end != present_value(cfg, key))
        cfg.tuned = dict(cfg.tuned or {}) | {row_key(cfg, key): other}
        assert cfg.method.sample[key] == other, key


def with_task(task: str, *overrides: str) -> DictConfig:
    """A configuration with another task's file: composing it takes ten times as long."""
    cfg = configured(*overrides)
    cfg.task = OmegaConf.load(CONF / "task" / f"{task}.yaml")
    return cfg


@pytest.mark.parametrize("method", choices("method"))
def test_every_variant_computes_something_else(method: str) -> None:
    """But for those whose file is nothing but another's name."""
    files = [yaml.safe_load(path.read_text()) | {"name": path.stem} for path in (CONF / "variant" / method).iterdir()]
    own = [file["name"] for file in files if file.keys() != {"defaults", "name"}]
    samples = [
        validate(with_task("gaussian_deblur", f"method={method}", f"variant={variant}")).sample for variant in own
    ]
    assert len(samples) > 1
    assert all(a != b for a, b in combinations(samples, 2))


@pytest.fixture(scope="module")
def sides() -> list[int]:
    """Of the images of every prior."""
    priors = [configured(f"prior={prior}").prior for prior in choices("prior") if prior not in KNOWN]
    return sorted({prior.image_size for prior in priors})


@pytest.mark.parametrize("task", choices("task"))
def test_every_task_measures_an_image_of_every_prior(task: str, sides: list[int]) -> None:
    cfg = with_task(task)
    for side in sides:
        measurement = measure(
            torch.zeros(1, 3, side, side),
            instantiate(cfg.task.operator),
            Noise(0, ["a"], "s"),
            noise_std=cfg.task.noise_std,
            noise_in_hole=cfg.measurement.noise_in_hole,
        )
        assert torch.isfinite(measurement.y).all()
        assert 0 < measurement.y.std() <= MOST.get(task, 1.2) * cfg.task.noise_std


@pytest.mark.parametrize("dataset", choices("dataset"))
def test_every_dataset_loads_or_says_what_it_lacks(dataset: str, tmp_path: Path) -> None:
    Image.new("RGB", (90, 70)).save(tmp_path / "a.png")
    root = (f"dataset.root={tmp_path}",) if "root" in configured(f"dataset={dataset}").dataset else ()
    cfg = configured(f"dataset={dataset}", *root)
    try:
        data = instantiate(cfg.dataset.load)
    except UserError as error:
        # Their pictures have names of their own, or are no files.
        assert dataset in ("ffhq", "imagenet", *CONTAINERS), error
        assert "dataset." in str(error) and len(str(error).splitlines()) == 1
        return
    assert data.name == dataset
    assert data.load(data.ids[0]).shape == (cfg.dataset.get("dx", 3), cfg.prior.image_size, cfg.prior.image_size)


def test_vectors_are_measured_by_their_own_task_alone() -> None:
    assert validate(configured("dataset=mixture")).config["task"]["name"] == "linear"
    with pytest.raises(UserError, match="task=box: dataset=mixture is measured by task=linear or phase or "):
        validate(configured("dataset=mixture", "task=box"))


def test_hyper_parameters_follow_the_prior_not_the_folder_of_the_pictures() -> None:
    def kappa(*overrides: str) -> float:
        return validate(configured("variant=paper", "task=box", *overrides)).sample["kappa1"]

    assert kappa("dataset=folder", "prior=ldm_ffhq") == kappa("dataset=ffhq") != kappa("dataset=folder")
    assert kappa("dataset=folder") == kappa("dataset=toyfaces")


@pytest.mark.parametrize("prior", choices("prior"))
def test_every_prior_loads_or_says_in_one_line_what_it_lacks(prior: str) -> None:
    own = {"kde_faces": ["dataset=kde_faces", "dataset.faces=2"]} | {key: ["dataset=mixture"] for key in KNOWN}
    cfg = configured(f"prior={prior}", *own.get(prior, []))
    try:
        loaded = instantiate(cfg.prior.load)
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
    assert {settings.sample["steps"] for settings in points("toyfaces")} == {configured().steps}
    dataset = configured("experiment=toyfaces").dataset
    assert (dataset.split, dataset.tuned_on.split) == ("test", "validation")


def points(experiment: str) -> list[Settings]:
    """A point of an experiment's sweep for each of its methods; all of its tasks exist."""
    swept = OmegaConf.load(CONF / "experiment" / f"{experiment}.yaml").hydra.sweeper.params
    methods, tasks = swept.method.split(","), swept.task.split(",")
    assert set(tasks) <= set(choices("task"))
    return [
        validate(configured(f"experiment={experiment}", f"method={method}", f"task={task}"))
        for method, task in zip(methods, cycle(tasks), strict=False)
    ]


def test_every_prior_and_data_set_has_a_card_with_the_digests_of_its_files() -> None:
    cards = (CONF / "CARDS.md").read_text()
    rows = {
        name for line in cards.splitlines() if line.startswith("| `") for name in line.split("|")[1].split("`")[1::2]
    }
    assert rows == {*every_choice("prior"), *every_choice("dataset")}
    named = dict(re.findall(r"`([\w-]+)` ([0-9a-f]{16})\b", cards))
    package = CONF.parent / "ldsmc_bench"
    kept = [
        *(package / "toyfaces" / "weights").glob("*.safetensors"),
        *(package / "mixture" / "networks").glob("*.safetensors"),
    ]
    known = {path.stem: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in kept}
    assert named == {
        name: digest for name, digest in known.items() if name not in ("toyfaces_features", "toyfaces_reference")
    }


@pytest.mark.parametrize("given", ["arguments.factor=4", "arguments={factor: 4}"])
def test_a_section_of_free_keys_takes_one_without_a_plus(given: str) -> None:
    assert configured("task=deepinv", f"task.{given}").task.arguments == {"factor": 4}
    with pytest.raises(ConfigCompositionException):
        configured("task=box", "task.factor=4")
