"""What makes two commands one run: everything that reaches the computation, and nothing else."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf

from ldsmc_bench.config import validate
from ldsmc_bench.records.identity import identify, run_id
from ldsmc_bench.toyfaces.dataset import toyfaces
from tests.commands import TINY, command, configured, records, runs


def name_of(*overrides: str, cfg: DictConfig | None = None, prior: str = "p") -> str:
    """The id of the run that these overrides make, with a prior of this digest."""
    settings = validate(configured(*overrides) if cfg is None else cfg)
    return run_id(identify(settings.config, toyfaces(), cast(Any, SimpleNamespace(digest=prior))))


@pytest.mark.parametrize(
    "override",
    [
        "batch_size=1",
        "device=cpu",
        "results_dir=elsewhere",
        "n_images=5",
        "shard=1 shards=2",
        "wandb.mode=disabled",
        "method.sample.eta=1",
        "method.tuning.toyfaces.box.kappa1=9",  # another task's
        "prior.tuning=toyfaces",
        "measurement.poisson_rate=2",  # the noise is Gaussian
    ],
)
def test_what_does_not_reach_the_computation_does_not_name_the_run(override: str) -> None:
    assert name_of(*override.split()) == name_of()


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "steps=7",
        "particles=7",
        "task=box",
        "task.noise_std=0.02",
        "task.noise=poisson",
        "task.operator.covered=[0.1,0.5]",
        "measurement.noise_in_hole=true",
        "variant=paper",
        "variant=released",
        "precision=fp64",
        "method.sample.kappa1=1.5",
        "method.tuning.toyfaces.freeform.kappa1=9",
        "method.sample.gibbs_iterations=2",
    ],
)
def test_what_reaches_the_computation_names_the_run(override: str) -> None:
    assert name_of(override) != name_of()


def test_poisson_noise_has_a_rate_and_no_level() -> None:
    assert name_of("task.noise=poisson", "measurement.poisson_rate=2") != name_of("task.noise=poisson")
    assert name_of("task.noise=poisson", "task.noise_std=0.02") == name_of("task.noise=poisson")


def test_functions_of_a_users_that_share_a_name_are_runs_of_their_own() -> None:
    """Their arguments do not tell them apart, and no Python path does."""
    task, method = ("task=denoise", "task.name=mine"), ("method.name=mine",)
    for key, common in (("task.operator", task), ("method.sample", method)):
        functions = ("index", "neg") if common is task else ("broken", "unable")
        module = "operator" if common is task else "tests.samplers"
        names = [name_of(*common, f"{key}._target_={module}.{function}") for function in functions]
        assert names[0] != names[1]


def test_the_priors_weights_name_the_run() -> None:
    assert name_of(prior="p") != name_of(prior="q")


WITHOUT_PARTICLES = {
    "name": "only_steps",
    "sample": {"_target_": "tests.samplers.only_steps", "_partial_": True, "steps": "${steps}"},
}


def test_particles_do_not_name_the_run_of_a_method_without_them() -> None:
    def name(*overrides: str) -> str:
        cfg = configured(*overrides)
        OmegaConf.set_struct(cfg, False)
        cfg.method = WITHOUT_PARTICLES
        return name_of(cfg=cfg)

    assert name("particles=1") == name("particles=5")
    assert name("steps=3") != name("steps=4")


def test_a_sweep_over_particles_of_a_method_without_them_is_one_run(tmp_path: Path) -> None:
    (tmp_path / "more" / "method").mkdir(parents=True)
    (tmp_path / "more" / "method" / "only_steps.yaml").write_text(yaml.safe_dump(WITHOUT_PARTICLES))
    chosen = ("method=only_steps", "task=denoise", "-m", "particles=1,5")
    done = command(tmp_path, "--config-dir", "more", *TINY, *chosen)
    assert (done.code, done.errors) == (0, [])
    (run,) = runs(tmp_path)
    assert {record["particles"] for record in records(run).values()} == {1}
    assert done.out.count("method=only_steps") == 1
