"""Which prior a command means that names none: the data set's own, in the space where the method works."""

from itertools import product
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from ldsmc_bench.files import CONF
from tests.commands import TINY, choices, command, configured, records, runs, tiny

LATENT = {"ldsmc", "ltds", "latent_dps", "psld", "pfld", "resample", "latent_daps", "fk", "das"}  # not in pixels
PRIORS = {
    "toyfaces": ("ldm_toyfaces", "pixel_toyfaces"),
    "folder": ("ldm_toyfaces", "pixel_toyfaces"),
    "ffhq": ("ldm_ffhq", "adm_ffhq"),
    "imagenet": ("ldm_imagenet", "adm_imagenet"),
}


@pytest.mark.parametrize(
    ("method", "dataset"),
    [*((method, "toyfaces") for method in choices("method")), *product(("ldsmc", "dps"), sorted(PRIORS))],
)
def test_a_method_gets_the_prior_of_its_space(method: str, dataset: str) -> None:
    cfg = configured(f"method={method}", f"dataset={dataset}")
    assert cfg.prior.name == PRIORS[dataset][method not in LATENT]
    assert cfg.prior == configured(f"prior={cfg.prior.name}").prior


@pytest.mark.parametrize("overrides", [("method=dps", "prior=ldm_toyfaces"), ("prior=ldm_toyfaces", "method=dps")])
def test_what_the_command_says_wins(overrides: tuple[str, str]) -> None:
    assert configured(*overrides).prior.name == "ldm_toyfaces"
    assert configured("method=ldsmc", "prior=pixel_toyfaces").prior.name == "pixel_toyfaces"


def test_its_keys_may_be_set_without_naming_it() -> None:
    assert configured("method=dps", "dataset=ffhq", "prior.random_weights=true").prior.random_weights is True


def test_an_experiment_may_choose_method_data_set_and_prior(tmp_path: Path) -> None:
    lines = ["# @package _global_", "defaults:", "  - override /method: dps", "  - override /dataset: ffhq"]
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "a.yaml").write_text("\n".join(lines) + "\n")
    (tmp_path / "experiment" / "b.yaml").write_text("\n".join([*lines, "  - override /prior: ldm_ffhq"]) + "\n")
    for experiment, prior in (("a", "adm_ffhq"), ("b", "ldm_ffhq")):
        cfg = configured(f"experiment={experiment}", f"hydra.searchpath=[file://{tmp_path}]")
        assert cfg.prior.name == prior


def test_a_sweep_over_methods_runs_each_with_its_own(tmp_path: Path) -> None:
    done = tiny(tmp_path, "-m", "method=latent_dps,dps", "n_images=1")
    assert done.code == 0, done.err
    names = {run.name.split("-")[0]: OmegaConf.load(run / "config.yaml").prior.name for run in runs(tmp_path)}
    assert names == {"latent_dps": "ldm_toyfaces", "dps": "pixel_toyfaces"}
    assert all(record["status"] == "ok" for run in runs(tmp_path) for record in records(run).values())


def test_a_data_set_without_priors_asks_for_one(tmp_path: Path) -> None:
    (tmp_path / "conf" / "dataset").mkdir(parents=True)
    (tmp_path / "conf" / "dataset" / "mine.yaml").write_text((CONF / "dataset" / "toyfaces.yaml").read_text())
    given = ("--config-dir", str(tmp_path / "conf"), "dataset=mine", "method=dps", *TINY)
    done = command(tmp_path, *given)
    assert done.code == 2 and len(done.errors) == 1
    assert "dataset=mine: it names no pixel prior; add prior=..." in done.errors[0]
    assert command(tmp_path, *given, "prior=pixel_toyfaces", "n_images=1").code == 0


def test_dps_names_its_counterpart_where_the_prior_is_latent(tmp_path: Path) -> None:
    done = tiny(tmp_path, "method=dps", "prior=ldm_toyfaces", "n_images=1")
    assert done.code == 2
    assert len(done.errors) == 1 and "method=latent_dps" in done.errors[0]
