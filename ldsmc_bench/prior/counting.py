"""A prior that counts the rows through each of its networks, forward and backward."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.prior.interface import PriorWrapper, image_shape

KINDS = [f"{network}_{way}" for network in ("denoiser", "decoder", "encoder") for way in ("forward", "backward")]


class Listener(Protocol):
    """Receives the begin and end of each network call; kinds are such as `denoiser_backward`."""

    def begin(self, kind: str, rows: int) -> None: ...

    def end(self, kind: str, rows: int) -> None: ...


@dataclass(frozen=True)
class CallCounter(PriorWrapper):
    """Looks like `prior` to a sampler; `calls` tallies rows (images x particles), as `denoiser_forward` and so on.

    Its schedule is a copy: a sampler that writes to it changes its own alone.
    """

    calls: Counter[str] = field(default_factory=Counter)
    listener: Listener | None = None

    @cached_property
    def alpha_bar(self) -> Tensor:
        own: Tensor = self.prior.alpha_bar.clone()
        return own

    def eps(self, z: Tensor, t: Tensor) -> Tensor:
        return self._count("denoiser", z, lambda: (self.prior.eps(z, t), None))[0]

    def eps_and_variance(self, z: Tensor, t: Tensor) -> tuple[Tensor, Tensor | None]:
        return self._count("denoiser", z, lambda: self.prior.eps_and_variance(z, t))

    def encode(self, x: Tensor) -> Tensor:
        return self._count("encoder", x, lambda: (self.prior.encode(x), None))[0]

    def decode(self, z: Tensor) -> Tensor:
        return self._count("decoder", z, lambda: (self.prior.decode(z), None))[0]

    def per_image(self, images: int) -> dict[str, float]:
        """Calls divided by the images that shared them."""
        return {kind: self.calls[kind] / images for kind in KINDS}

    def _count(self, network: str, given: Tensor, call: Callable[[], tuple[Tensor, Any]]) -> tuple[Tensor, Any]:
        rows, forward, backward = len(given), f"{network}_forward", f"{network}_backward"
        if self.listener is not None:
            self.listener.begin(forward, rows)
        output, variance = call()
        if output is given:  # a pixel prior's codec is no network
            return output, variance
        wanted = rows, *(image_shape(self.prior) if network == "decoder" else self.prior.shape)
        if tuple(output.shape) != wanted:
            raise UserError(f"prior.load: its {network} gives {tuple(output.shape)} where {wanted} is wanted; mend it")
        if network == "denoiser" and torch.is_grad_enabled() and given.requires_grad and not output.requires_grad:
            raise UserError("prior.load: its eps has no gradient; leave out detach and no_grad, samplers need it")
        self.calls[forward] += rows
        if self.listener is not None:
            self.listener.end(forward, rows)
        if output.requires_grad:
            output.register_hook(lambda gradient: self.calls.update({backward: rows}))
            if self.listener is not None:
                _hear_backward(self.listener, backward, given, output)
        return output, variance


def _hear_backward(listener: Listener, kind: str, given: Tensor, output: Tensor) -> None:
    """Time a backward pass from the gradient of `output` to that of `given`, where it has one."""
    rows, reached = len(output), given.requires_grad
    under_way = False

    def begin(gradient: Tensor) -> None:
        nonlocal under_way
        under_way = True
        listener.begin(kind, rows)
        if not reached:
            listener.end(kind, rows)

    def end(gradient: Tensor) -> None:
        if under_way:  # what was given may have a gradient by another way
            listener.end(kind, rows)
            ending.remove()  # a fit gives the same leaf at every iteration, and each would leave a hook on it

    output.register_hook(begin)
    if reached:
        ending = given.register_hook(end)
