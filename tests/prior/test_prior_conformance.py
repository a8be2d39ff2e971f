"""What every prior must do, one of your own too: `pytest tests/prior/test_prior_conformance.py --prior NAME`."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ldsmc_bench.config import compose, instantiate
from ldsmc_bench.prior.counting import CallCounter
from ldsmc_bench.prior.interface import Prior, image_shape
from ldsmc_bench.sampling.views import denoise, flow_velocity
from tests.checkpoints import tiny_pipelines as tiny

ROWS = 3
PIPELINES: dict[str, Callable[[], Any]] = {
    "DDPM": tiny.ddpm,
    "LDM": lambda: tiny.ldm("vq"),
    "Stable Diffusion v": lambda: tiny.sd(prediction_type="v_prediction", rescale_betas_zero_snr=True),
    "EDM": tiny.playground,
    "FLUX": tiny.flux,
}
CHOSEN = ["ldm_toyfaces", "pixel_toyfaces", "kde_faces dataset=kde_faces", "mixture dataset=mixture task=linear"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    named = metafunc.config.getoption("--prior", default=None)
    if "named" in metafunc.fixturenames:
        metafunc.parametrize("named", [named] if named else [*CHOSEN, *PIPELINES], scope="module")


@cache
def loaded(named: str, folder: str | None, saved: Path) -> Prior:
    """The prior of the configuration; `named` may be followed by other keys."""
    elsewhere = [f"hydra.searchpath=[file://{Path(folder).resolve()}]"] if folder else []
    if named in PIPELINES:
        path = tiny.saved(PIPELINES[named](), saved)
        named = f"diffusers prior.path={path} prior.image_size=16"
    cfg = compose(*f"prior={named}".split(), *elsewhere)
    return instantiate(cfg.prior.load)


@pytest.fixture(scope="module")
def prior(named: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Prior:
    """In float64, for images without classes."""
    if named in ("Stable Diffusion v", "EDM", "FLUX"):
        pytest.importorskip("transformers", reason="needs the extra [text]")
    made = loaded(named, request.config.getoption("--config-dir", default=None), tmp_path_factory.mktemp("saved"))
    return made.to(torch.device("cpu"), torch.float64).conditioned(None)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def steps(prior: Prior) -> Tensor:
    """A training step a row: the first, one in the middle and the last but one."""
    return torch.tensor([0, len(prior.alpha_bar) // 2, len(prior.alpha_bar) - 2])


def test_the_schedule_falls_from_data_to_noise(prior: Prior) -> None:
    a = prior.alpha_bar
    assert a.dtype == torch.float64 and a.device.type == "cpu" and a.ndim == 1 and len(a) > 1
    assert 0 < float(a[-1]) < float(a[0]) < 1 and bool((a[1:] < a[:-1]).all())


def test_shapes(prior: Prior) -> None:
    z, image = normal(ROWS, *prior.shape), image_shape(prior)
    eps, variance = prior.eps_and_variance(z, steps(prior))
    assert eps.shape == z.shape and torch.isfinite(eps).all()
    torch.testing.assert_close(eps, prior.eps(z, steps(prior)), rtol=1e-9, atol=1e-9)
    assert variance is None or variance.shape == z.shape
    x = prior.decode(z)
    assert x.shape == (ROWS, *image) and torch.isfinite(x).all()
    assert prior.encode(x.clamp(-1, 1)).shape == z.shape


def test_rows_do_not_depend_on_each_other(prior: Prior) -> None:
    z, t = normal(ROWS, *prior.shape), steps(prior)
    alone = torch.cat([prior.eps(z[i : i + 1], t[i : i + 1]) for i in range(ROWS)])
    torch.testing.assert_close(prior.eps(z, t), alone, rtol=1e-6, atol=1e-6)
    decoded = torch.cat([prior.decode(z[i : i + 1]) for i in range(ROWS)])
    torch.testing.assert_close(prior.decode(z), decoded, rtol=1e-6, atol=1e-6)


def test_the_gradient_of_the_noise_is_its_derivative(prior: Prior) -> None:
    z, along, weights = (normal(ROWS, *prior.shape, seed=seed) for seed in range(3))
    z, t, h = z.requires_grad_(True), steps(prior), 1e-5
    (gradient,) = torch.autograd.grad((prior.eps(z, t) * weights).sum(), z)
    with torch.no_grad():
        apart = (prior.eps(z + h * along, t) - prior.eps(z - h * along, t)) / (2 * h)
    expected, found = ((one * other).flatten(1).sum(1) for one, other in ((apart, weights), (gradient, along)))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_an_image_has_a_gradient_to_its_latent(prior: Prior) -> None:
    """Of a codebook it is the straight-through one, and no derivative."""
    z = normal(ROWS, *prior.shape).requires_grad_(True)
    (gradient,) = torch.autograd.grad(prior.decode(z).square().sum(), z)
    assert torch.isfinite(gradient).all() and gradient.any()


def test_a_second_round_trip_changes_less_than_the_first(prior: Prior, named: str) -> None:
    """Encoding is deterministic, and what the codec once made is near to what it can make."""
    channels, height, width = image_shape(prior)
    line = torch.linspace(-0.8, 0.8, height * width, dtype=torch.float64)
    x = line.reshape(1, 1, height, width).expand(1, channels, -1, -1).contiguous()
    assert torch.equal(prior.encode(x), prior.encode(x))
    once = prior.decode(prior.encode(x))
    twice = prior.decode(prior.encode(once))
    if named not in PIPELINES:  # whose weights are random
        assert (twice - once).norm() <= (once - x).norm() + 1e-9


@pytest.mark.parametrize("networks", [torch.float32, torch.bfloat16])
def test_states_keep_their_type_whatever_that_of_networks(prior: Prior, networks: torch.dtype) -> None:
    placed = prior.to(torch.device("cpu"), networks)
    z = normal(ROWS, *prior.shape).float()
    assert placed.eps(z, steps(prior)).dtype == torch.float32
    x = placed.decode(z)
    assert x.dtype == torch.float32 and placed.encode(x.clamp(-1, 1)).dtype == torch.float32


def test_calls_are_counted_forward_and_backward(prior: Prior) -> None:
    counted = CallCounter(prior)
    z = normal(ROWS, *prior.shape).requires_grad_(True)
    eps = counted.eps(z, steps(prior))
    x = counted.decode(eps)
    x.square().sum().backward()
    pixels = x is eps
    assert counted.calls["denoiser_forward"] == counted.calls["denoiser_backward"] == ROWS
    assert counted.calls["decoder_forward"] == counted.calls["decoder_backward"] == (0 if pixels else ROWS)


def test_levels_between_steps_and_flows_are_seen(prior: Prior) -> None:
    """Some methods ask at any level of noise, so at steps that are not whole."""
    x, sigmas = normal(ROWS, *prior.shape), ((1 - prior.alpha_bar) / prior.alpha_bar).sqrt()
    between = torch.lerp(sigmas[:-1], sigmas[1:], 0.5)[torch.tensor([0, len(sigmas) // 2, len(sigmas) - 2])]
    assert torch.isfinite(denoise(prior, x, between)).all()
    assert torch.isfinite(flow_velocity(prior, x, 0.4)).all()


def test_it_is_named_by_what_it_computes_and_moving_it_changes_neither(prior: Prior) -> None:
    moved = prior.to(torch.device("cpu"), torch.float64)
    z = normal(ROWS, *prior.shape)
    assert prior.digest and moved.digest == prior.digest
    assert torch.equal(moved.eps(z, steps(prior)), prior.eps(z, steps(prior)))
