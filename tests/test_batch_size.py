"""How many images at once fit into memory that is made up."""

import pytest
import torch

from ldsmc_bench.config import Settings, compose, validate
from ldsmc_bench.errors import UserError
from ldsmc_bench.running import device
from ldsmc_bench.running.device import ON_CPU, ROWS, SHARE, fitting, images_at_once, most
from ldsmc_bench.toyfaces import priors


def settings(*overrides: str) -> Settings:
    return validate(compose("device=cpu", *overrides))


@pytest.mark.parametrize("free", [10.0, 100.0, 333.0, 1000.0])
@pytest.mark.parametrize(("once", "each"), [(0.0, 7.0), (20.0, 7.0), (5.0, 2.0)])
def test_as_many_as_fit_and_one_at_least(free: float, once: float, each: float) -> None:
    found = fitting(1000, free, lambda images: once + each * images)
    assert found == 1 or once + each * found <= SHARE * free
    assert once + each * (found + 1) > SHARE * free or found == 1000


def test_no_more_than_fill_a_card_and_one_where_two_do_not_fit() -> None:
    assert fitting(12, 1e12, lambda images: 1.0 * images) == 12
    assert fitting(12, 1e12, lambda images: 5.0) == 12
    assert fitting(12, 100.0, lambda images: 90.0 if images == 1 else float("inf")) == 1
    assert fitting(12, 100.0, lambda images: float("inf")) == 1


def test_what_was_asked_for_is_taken_and_auto_is_known_on_a_cpu() -> None:
    prior = priors.latent()
    assert images_at_once(settings("batch_size=7"), prior) == 7
    assert images_at_once(settings("batch_size=auto"), prior) == most(settings()) == ON_CPU


@pytest.mark.parametrize(("particles", "images"), [(1, ROWS), (5, ROWS // 5), (1000, 1)])
def test_on_a_gpu_rows_are_bounded(particles: int, images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = settings(f"particles={particles}")
    object.__setattr__(chosen, "device", torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**12, 10**12))
    asked: list[int] = []
    monkeypatch.setattr(device, "_taken", lambda prior, rows, settings: asked.append(rows) or 1.0 * rows)
    assert images_at_once(chosen, priors.latent()) == images
    assert asked == [particles, 2 * particles]


@pytest.mark.parametrize("value", ["0", "many", "1.5", "true"])
def test_another_word_is_refused(value: str) -> None:
    with pytest.raises(UserError, match=r"batch_size=.*: must be auto or a whole number of at least 1"):
        settings(f"batch_size={value}")
