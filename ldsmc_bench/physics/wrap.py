"""Forward operators of the package deepinv as tasks: A, its adjoint and its pseudo-inverse are deepinv's own.

References: Tachella et al. 2025, "DeepInverse: a Python package for solving imaging inverse problems with deep
learning", arXiv 2505.20160.
"""

import copy
import inspect
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from hydra.utils import get_object
from torch import Tensor

from ldsmc_bench.errors import Unsupported, UserError, nearest, one_line
from ldsmc_bench.noise import Noise
from ldsmc_bench.problem.conjugate_gradients import solve
from ldsmc_bench.problem.operators import SharedOperator
from ldsmc_bench.running.own_parts import require_adjoint

COMPLEX = {torch.float16: torch.complex32, torch.float32: torch.complex64, torch.float64: torch.complex128}


@dataclass(frozen=True, eq=False)
class Wrapped(SharedOperator):
    """A physics for all rows, or one an image; `labels` (R,) has the one of each row.

    Complex measurements are twice as many real channels, and those of another number of axes are (c,h,w).
    """

    physics: tuple[Any, ...]
    labels: Tensor | None
    tail: tuple[int, ...]  # shape of a row of deepinv's y
    complex: bool
    takes_complex: bool  # images
    doubles: bool  # it can compute in float64; else it does so in float32
    on_scale: bool  # y is on the scale of images
    linear: ClassVar[bool] = False

    @property
    def brightness(self) -> bool:  # type: ignore[override]
        return self.on_scale

    def __call__(self, x: Tensor) -> Tensor:
        y = _ours(self._each(lambda physics, rows: physics.A(rows), self._native(x)))
        return y.to(x.dtype)

    def adjoint(self, y: Tensor) -> Tensor:
        raise Unsupported("this physics of deepinv is not linear: it has no adjoint")

    def select(self, index: Tensor) -> Self:
        return self if self.labels is None else replace(self, labels=self.labels[index.to(self.labels.device)])

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        dtype = dtype if self.doubles else torch.float32

        def place(tensor: Tensor) -> Tensor:
            if tensor.is_complex():
                return tensor.to(device, COMPLEX[dtype])
            return tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device)

        moved = tuple(copy.deepcopy(one)._apply(place) for one in self.physics)
        return replace(self, physics=moved, labels=None if self.labels is None else self.labels.cpu())

    def _each(self, compute: Callable[[Any, Any], Any], rows: Tensor) -> Any:
        if self.labels is None:
            return compute(self.physics[0], rows)
        found, lengths = torch.unique_consecutive(self.labels, return_counts=True)
        parts = zip(found.tolist(), rows.split(lengths.tolist()), strict=True)
        return torch.cat([compute(self.physics[label], part) for label, part in parts])

    def _native(self, x: Tensor) -> Tensor:
        dtype = x.dtype if self.doubles else torch.float32
        return x.to(COMPLEX[dtype] if self.takes_complex else dtype)

    def _theirs(self, y: Tensor) -> Tensor:
        y = y if self.doubles else y.float()
        if not self.complex:
            return y.reshape(len(y), *self.tail)
        real, imaginary = y.chunk(2, dim=1)
        return torch.complex(real.contiguous(), imaginary.contiguous()).reshape(len(y), *self.tail)


@dataclass(frozen=True, eq=False)
class WrappedLinear(Wrapped):
    """A linear physics."""

    linear: ClassVar[bool] = True

    def adjoint(self, y: Tensor) -> Tensor:
        x = self._each(lambda physics, rows: physics.A_adjoint(rows), self._theirs(y))
        return (x.real if x.is_complex() else x).to(y.dtype)

    def pinv(self, y: Tensor, delta: float | Tensor = 0.0) -> Tensor:
        """deepinv's own pseudo-inverse for a `delta` of 0, else conjugate gradients."""
        if not isinstance(delta, Tensor) and delta == 0:
            x = self._each(lambda physics, rows: physics.A_dagger(rows), self._theirs(y))
            return (x.real if x.is_complex() else x).to(y.dtype)
        return solve(lambda x: self.adjoint(self(x)) + delta * x, self.adjoint(y), 200)


def wrap(
    image_size: int | Sequence[int],
    noise: Noise,
    *,
    physics: str | None,
    arguments: Mapping[str, Any] | None = None,
    per_image: bool = False,
    channels: int = 3,
) -> Wrapped:
    """The class `physics` of `deepinv.physics`, or your own function `module.name` that returns one, with these
    arguments. `img_size` (C,H,W), `img_width`, `rng` are added where they are taken and not given.

    `per_image`: one an image, with random numbers of its own; else one for all, drawn by the seed alone. Raises
    UserError where the package is absent, the physics is not known, cannot be built, does not take such images, has
    noise or a sensor of its own, or has an adjoint that is none; and for a blind one, whose parameters are not given.
    """
    shape = (channels, *((image_size,) * 2 if isinstance(image_size, int) else image_size))
    name = f"task.physics={physics}"
    build = _find(physics)
    if not isinstance(arguments or {}, Mapping):
        raise UserError(f"task.arguments={arguments}: must be arguments by name, as {{angles: 20}}")
    images = [Noise(noise.seed, [image_id], noise.stream) for image_id in noise.image_ids]
    own = images if per_image else [Noise(noise.seed, ["all"], "deepinv")]
    built = [_build(name, build, dict(arguments or {}), shape, one.entropy("physics") % 2**63) for one in own]
    clean, takes_complex = _measure(name, built[0], shape)
    kind = WrappedLinear if _deepinv().physics.LinearPhysics in type(built[0]).__mro__ else Wrapped
    labels = torch.arange(len(built)) if per_image else None
    wrapped = kind(
        tuple(built), labels, tuple(clean.shape[1:]), clean.is_complex(), takes_complex, True, on_scale=False
    )
    wrapped = replace(wrapped, doubles=_doubles(wrapped, shape))
    if not wrapped.linear:
        return wrapped
    one = wrapped.select(torch.zeros(1, dtype=torch.long))
    own_noise = Noise(noise.seed, ["all"], "adjoint")
    require_adjoint(name, one, shape, own_noise, adjoint="its A_adjoint")
    extremes = torch.ones(1, *shape), own_noise.normal("signs", shape).sign()  # black is -1 times white
    return replace(wrapped, on_scale=all(bool(one(x).abs().max() < 1.001) for x in extremes))


def _deepinv() -> Any:
    try:
        import deepinv
    except ImportError as error:
        raise UserError("task=deepinv: needs the package deepinv; in the checkout, pip install '.[physics]'") from error
    return deepinv


def _find(physics: str | None) -> Callable[..., Any]:
    package = _deepinv().physics
    if not (physics := str(physics or "")):  # YAML reads 3 as a number
        raise UserError(
            "task.physics is not set: name a class of deepinv.physics, or your own function, as module.name"
        )
    if "." in physics:
        try:
            found = get_object(physics)
        except Exception as error:
            raise UserError(f"task.physics={physics}: no such function ({one_line(error)})") from error
        if not callable(found):
            raise UserError(f"task.physics={physics}: is no function or class, but {type(found).__name__}")
        return found
    known = {
        name for name, kind in vars(package).items() if isinstance(kind, type) and issubclass(kind, package.Physics)
    }
    if physics not in known:
        raise UserError(f"task.physics={physics}: deepinv.physics has no such class; {nearest(physics, known)}")
    return getattr(package, physics)


def _build(name: str, build: Callable[..., Any], arguments: dict[str, Any], shape: tuple[int, ...], seed: int) -> Any:
    """A physics without noise, its random numbers drawn by `seed`, whether it takes a generator or not."""
    taken = inspect.signature(build).parameters
    added = {"img_size": shape, "img_width": shape[-1], "rng": torch.Generator().manual_seed(seed)}
    for key in arguments:
        if key not in taken and not any(one.kind is one.VAR_KEYWORD for one in taken.values()):
            raise UserError(f"task.arguments.{key}: {name} takes no such argument; {nearest(key, taken)}")
    lists = {
        key: tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
        for key, value in arguments.items()
    }
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.filterwarnings("error", message=".* but are ignored")  # arguments
            torch.manual_seed(seed)
            made = build(**{key: value for key, value in added.items() if key in taken} | lists)
    except Exception as error:  # whatever deepinv raises for arguments that make no sense to it
        raise UserError(f"{name}: cannot be built with task.arguments={arguments} ({one_line(error)[:200]})") from error
    physics = _deepinv().physics
    if not isinstance(made, physics.Physics):
        raise UserError(f"{name}: must be a physics of deepinv, and is {type(made).__name__}")
    if not isinstance(made.noise_model, physics.ZeroNoise):
        raise UserError(
            f"{name}: has noise of its own ({type(made.noise_model).__name__}), which task.noise adds here; name your "
            "own function that returns it with noise_model=ZeroNoise(); denoising is task=denoise"
        )
    kinds = (physics.Physics, physics.LinearPhysics)
    if made.sensor_model not in [inspect.signature(kind).parameters["sensor_model"].default for kind in kinds]:
        raise UserError(f"{name}: has a sensor_model, which acts after the noise; leave it out, or make it part of A")
    return made.requires_grad_(False)


@torch.no_grad()
def _measure(name: str, physics: Any, shape: tuple[int, ...]) -> tuple[Tensor, bool]:
    """A of a blank image, and whether that has to be complex. Raises UserError for a physics that does not take images,
    or gives anything but one tensor with a row an image."""
    blank, two = torch.zeros(1, *shape), torch.linspace(-1, 1, 2 * math.prod(shape)).reshape(2, *shape)
    takes_complex = False
    try:
        try:
            y = physics.A(blank)
        except RuntimeError as error:
            if takes_complex := "complex" in str(error).lower():
                y = physics.A(blank.to(torch.complex64))
            else:
                raise
        more = physics.A(two.to(torch.complex64) if takes_complex else two)
    except Exception as error:  # whatever deepinv raises for an image that makes no sense to it
        lacking = [key for key in ("filter", "filters", "mask", "params") if getattr(physics, key, "") is None]
        if lacking and type(physics) is not _deepinv().physics.Downsampling:  # which does without
            raise UserError(
                f"{name}: a blind task, for {lacking[0]} is not given, and the methods here know A; "
                f"set task.arguments.{lacking[0]}=..."
            ) from error
        other = ", or takes more than an image" if isinstance(error, IndexError) else ""
        remedy = "; complex images are two channels, prior.channels=2" if "MRI" in type(physics).__name__ else ""
        raise UserError(f"{name}: does not take images of {shape}{other} ({one_line(error)[:200]}){remedy}") from error
    if not isinstance(y, Tensor):
        raise UserError(f"{name}: its measurement is {type(y).__name__}; one tensor is wanted, not a stack of several")
    if not y.numel() or y.shape[:1] != (1,) or more.shape != (2, *y.shape[1:]):
        raise UserError(
            f"{name}: A of one image has the shape {tuple(y.shape)}, and of two {tuple(more.shape)}; the first axis "
            "must be that of images, and the others the same and not empty"
        )
    return y, takes_complex


@torch.no_grad()
def _doubles(operator: Wrapped, shape: tuple[int, ...]) -> bool:
    """True if `to` finds all of its tensors, so that it can compute in float64."""
    one = operator.to("cpu", torch.float64).select(torch.zeros(1, dtype=torch.long))
    try:
        y = one(torch.zeros(1, *shape, dtype=torch.float64))
        if one.linear:
            one.adjoint(y)
    except Exception:  # whatever deepinv raises for tensors of two types
        return False
    return True


def _ours(y: Tensor) -> Tensor:
    """(R,c,h,w) real."""
    tail = y.shape[1:]
    y = y.reshape(len(y), *[1] * (3 - len(tail)), *tail) if len(tail) < 3 else y.flatten(1, len(tail) - 2)
    return torch.cat([y.real, y.imag], dim=1) if y.is_complex() else y
