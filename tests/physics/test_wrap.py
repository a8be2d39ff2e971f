"""Operators of the real deepinv as tasks: the same numbers, one line for what cannot be."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ldsmc_bench.errors import Unsupported, UserError
from ldsmc_bench.noise import Noise
from ldsmc_bench.physics.wrap import Wrapped, wrap
from ldsmc_bench.problem.measurement import measure
from tests.commands import tiny

deepinv = pytest.importorskip("deepinv", reason="needs the extra [physics]")
close = torch.testing.assert_close
SIDE = 16
FILTER = torch.rand(1, 1, 5, 5, generator=torch.Generator().manual_seed(0))
MASK = (torch.rand(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) > 0.5).float()
LINEAR: dict[str, tuple[int, Mapping[str, Any]]] = {  # channels of images, and arguments
    "Blur": (3, {"filter": FILTER / FILTER.sum(), "padding": "circular"}),
    "BlurFFT": (3, {"filter": FILTER / FILTER.sum()}),
    "Downsampling": (3, {"factor": 2}),
    "Inpainting": (3, {"mask": 0.5}),
    "MRI": (2, {"mask": MASK}),
    "Tomography": (1, {"angles": 12, "normalize": True}),
    "CompressedSensing": (1, {"m": 40}),
    "RadioInterferometry": (0, {}),
}
LINEAR = {name: one for name, one in LINEAR.items() if one[0]}


def made(physics: str, ids: tuple[str, ...] = ("a", "b"), seed: int = 0, **more: Any) -> Wrapped:
    channels, arguments = LINEAR.get(physics, (3, {}))
    settings = {"physics": physics, "arguments": arguments, "channels": channels} | more
    return wrap(SIDE, Noise(seed, ids, "test"), **settings)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("name", LINEAR)
def test_a_adjoint_and_pseudo_inverse_are_deepinvs_own(name: str) -> None:
    ours, channels = made(name), LINEAR[name][0]
    theirs = ours.physics[0]
    x = normal(2, channels, SIDE, SIDE)
    y = theirs.A(x)
    assert ours.linear and ours(x).ndim == 4
    close(ours(x).flatten(1), y.flatten(1))
    close(ours.adjoint(ours(x)), theirs.A_adjoint(y))
    close(ours.pinv(ours(x)), theirs.A_dagger(y))


@pytest.mark.parametrize("name", LINEAR)
def test_adjoint_and_damped_inverse_hold_in_float64(name: str) -> None:
    operator, channels = made(name).to("cpu", torch.float64), LINEAR[name][0]
    x = normal(2, channels, SIDE, SIDE, dtype=torch.float64)
    ax = operator(x)
    y = normal(*ax.shape, seed=1, dtype=torch.float64)
    exact = 1e-6 if operator.doubles else 1e-5
    close((ax * y).sum(), (x * operator.adjoint(y)).sum(), rtol=exact, atol=exact)
    damped = operator.pinv(y, 0.3)
    close(operator.adjoint(operator(damped)) + 0.3 * damped, operator.adjoint(y), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["Blur", "MRI", "Tomography"])
def test_rows_do_not_depend_on_the_batch_and_y_is_the_seeds(name: str) -> None:
    operator, channels = made(name), LINEAR[name][0]
    x = normal(3, channels, SIDE, SIDE)
    close(operator(x)[1:2], operator(x[1:2]), rtol=0, atol=1e-5)
    again = made(name, ids=("c",))
    close(again(x), operator(x))


def test_random_parameters_are_the_seeds_or_each_images_own() -> None:
    x = torch.ones(1, 3, SIDE, SIDE)
    shared, other = made("Inpainting"), made("Inpainting", seed=1)
    assert torch.equal(shared(x), made("Inpainting", ids=("c",))(x)) and not torch.equal(shared(x), other(x))
    own = made("Inpainting", per_image=True)
    y = own(x.expand(2, -1, -1, -1))
    assert not torch.equal(y[0], y[1])
    assert torch.equal(own.select(torch.tensor([1, 1, 0]))(x.expand(3, -1, -1, -1)), y[[1, 1, 0]])
    assert torch.equal(made("Inpainting", ids=("b",), per_image=True)(x), y[1:])
    close(own.adjoint(y), y)


def test_phase_retrieval_is_nonlinear_and_has_its_gradient() -> None:
    arguments = {"m": 300}
    operator = made("RandomPhaseRetrieval", arguments=arguments, channels=1)
    x = normal(2, 1, SIDE, SIDE).requires_grad_(True)
    y = operator(x)
    assert not operator.linear and not hasattr(operator, "pinv") and y.shape == (2, 1, 1, 300)
    weights = normal(*y.shape, seed=3)
    (gradient,) = torch.autograd.grad((y * weights).sum(), x)
    theirs = operator.physics[0].A_vjp(x.detach().to(torch.complex64), weights.reshape(2, -1).to(torch.complex64))
    close(gradient, theirs.real.reshape(gradient.shape), rtol=1e-3, atol=1e-4)
    with pytest.raises(Unsupported, match="no adjoint"):
        operator.adjoint(y)
    assert operator.to("cpu", torch.float64)(x.detach().double()).dtype == torch.float64


def test_a_complex_measurement_is_real_channels_with_an_exact_adjoint() -> None:
    operator = made("tests.physics.test_wrap.fourier", arguments={"size": SIDE}, channels=1)
    x, y = normal(2, 1, SIDE, SIDE), normal(2, 2, SIDE, SIDE, seed=1)
    assert operator(x).shape == y.shape and operator.complex
    close((operator(x) * y).sum(), (x * operator.adjoint(y)).sum(), rtol=1e-4, atol=1e-4)
    close(operator.pinv(operator(x)), x, rtol=0, atol=1e-3)


def fourier(size: int) -> Any:
    return deepinv.physics.LinearPhysics(
        A=lambda x: torch.fft.fft2(x, norm="ortho"), A_adjoint=lambda y: torch.fft.ifft2(y, norm="ortho"), solver="CG"
    )


def false_adjoint(scale: float) -> Any:
    return deepinv.physics.LinearPhysics(A=lambda x: scale * x, A_adjoint=lambda y: y)


def turned(factor: float = 1.0, shift: int = 0) -> Any:
    return deepinv.physics.LinearPhysics(A=lambda x: x, A_adjoint=lambda y: factor * y.roll(shift, -1))


def differences() -> Any:
    return deepinv.physics.LinearPhysics(A=lambda x: x - x.roll(1, -1), A_adjoint=lambda y: y - y.roll(-1, -1))


def beside() -> Any:
    """An adjoint that is wrong for what A never gives."""
    return deepinv.physics.LinearPhysics(A=lambda x: torch.cat([x, 0 * x], 1), A_adjoint=lambda y: y[:, :3] + y[:, 3:])


def of(A: str) -> Any:
    return deepinv.physics.Physics(A=eval(f"lambda x: {A}"))


def breaks_on_pictures() -> Any:
    return deepinv.physics.Physics(A=lambda x: x if not x.any() else x.reshape(5))


nothing_to_call = 3


def noisy() -> Any:
    return deepinv.physics.Denoising(deepinv.physics.GaussianNoise(0.1))


def saturated() -> Any:
    return deepinv.physics.Physics(sensor_model=lambda y: y.clamp(-1, 1))


def stacked() -> Any:
    return deepinv.physics.Denoising(deepinv.physics.ZeroNoise()).stack(
        deepinv.physics.Denoising(deepinv.physics.ZeroNoise())
    )


HERE = "tests.physics.test_wrap"
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"physics": None}, "task.physics is not set"),
    ({"physics": "Blurr"}, "no such class; did you mean Blur"),
    ({"physics": f"{HERE}.absent"}, "no such function"),
    ({"physics": "Blur", "arguments": {}}, "a blind task, for filter is not given"),
    (
        {"physics": "Inpainting", "arguments": {"masks": 0.5, "x": 1}},
        "cannot be built with task.arguments=.*are ignored",
    ),
    ({"physics": "MRI", "channels": 3}, r"does not take images of \(3, 16, 16\) .*prior.channels=2"),
    ({"physics": f"{HERE}.false_adjoint", "arguments": {"scale": 2.0}}, "its A_adjoint is not the adjoint"),
    ({"physics": f"{HERE}.false_adjoint", "arguments": {"size": 2.0}}, "takes no such argument"),
    ({"physics": f"{HERE}.noisy", "arguments": {}}, "has noise of its own.*your own function"),
    ({"physics": "Denoising", "arguments": {}}, "has noise of its own.*denoising is task=denoise"),
    ({"physics": 3}, "task.physics=3: deepinv.physics has no such class"),
    ({"physics": f"{HERE}.nothing_to_call"}, "is no function or class, but int"),
    ({"physics": "Haze", "arguments": {}}, "or takes more than an image"),
    ({"physics": "Downsampling", "arguments": {"factor": 0}}, "does not take images of .*step cannot be zero"),
    ({"physics": f"{HERE}.breaks_on_pictures", "arguments": {}}, "does not take images of"),
    *(
        ({"physics": f"{HERE}.of", "arguments": {"A": a}}, "the first axis must be that of images")
        for a in ("x.sum()", "x.mean(0)", "x[:, :, :0]")
    ),
    ({"physics": f"{HERE}.saturated", "arguments": {}}, "has a sensor_model"),
    ({"physics": f"{HERE}.stacked", "arguments": {}}, "one tensor is wanted"),
]


@pytest.mark.parametrize(("changes", "named"), REFUSED, ids=lambda one: str(one)[:40])
def test_what_cannot_be_is_one_line(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named) as refusal:
        made(**{"physics": "Blur"} | changes)
    assert "\n" not in str(refusal.value) and "task." in str(refusal.value)


@pytest.mark.parametrize("size", [SIDE, 256])
@pytest.mark.parametrize(
    ("physics", "arguments"),
    [("turned", {"factor": factor}) for factor in (0.0, 0.9, 1.1, -1.0)] + [("turned", {"shift": 1}), ("beside", {})],
)
def test_a_false_adjoint_is_found_at_any_size(size: int, physics: str, arguments: dict[str, Any]) -> None:
    for seed in range(2):
        with pytest.raises(UserError, match="not the adjoint"):
            wrap(size, Noise(seed, ["a"], "test"), physics=f"{HERE}.{physics}", arguments=arguments)


@pytest.mark.parametrize(("name", "arguments"), [("MRI", {}), ("Blur", LINEAR["Blur"][1]), ("Downsampling", {})])
def test_a_true_adjoint_passes_at_512_pixels(name: str, arguments: Mapping[str, Any]) -> None:
    wrap(512, Noise(0, ["a"], "test"), physics=name, arguments=arguments, channels=LINEAR[name][0])


def test_differences_are_not_on_the_scale_of_images() -> None:
    assert not made(f"{HERE}.differences").on_scale and made("Blur").on_scale and made(f"{HERE}.turned").on_scale


def test_photons_are_counted_of_pictures_alone() -> None:
    def noisy_y(name: str) -> Tensor:
        channels = LINEAR[name][0]

        def operator(size: int, noise: Noise) -> Wrapped:
            return made(name)

        x = normal(2, channels, SIDE, SIDE).clamp(-1, 1)
        return measure(x, operator, Noise(0, ["a", "b"], "s"), noise_std=0.1, noise_in_hole=False, kind="poisson").y

    assert noisy_y("Blur").abs().max() <= 1
    with pytest.raises(UserError, match="does not measure brightness"):
        noisy_y("MRI")


@pytest.mark.slow
def test_methods_run_on_it(tmp_path: Path) -> None:
    done = tiny(
        tmp_path,
        *("-m", "method=ldsmc,latent_dps,dps,diffpir,ddrm", "task=deepinv", "task.physics=Downsampling"),
        *("task.arguments.factor=4", "particles=1"),
    )
    assert done.code == 0, done.err
    records = [json.loads(path.read_text()) for path in tmp_path.glob("results/runs/*/records/*.json")]
    statuses = {one["method"]: one["status"] for one in records}
    assert statuses.pop("ddrm") == "skipped"  # needs singular values
    assert len(statuses) == 4 and set(statuses.values()) == {"ok"}


def test_arguments_without_names_are_refused_in_one_line() -> None:
    with pytest.raises(UserError, match=r"^task\.arguments=3: must be arguments by name"):
        wrap(16, Noise(0, ["a"], "measurement"), physics="Blur", arguments=3)  # type: ignore[arg-type]
