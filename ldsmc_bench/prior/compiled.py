"""Priors on their device, with networks compiled by torch.compile where that is asked for."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import torch
from torch import nn

from ldsmc_bench.errors import UserError
from ldsmc_bench.prior.interface import Prior

P = TypeVar("P", bound=Prior)


def to_device_and_compile(prior: P, device: torch.device, dtype: torch.dtype, compile: bool) -> P:
    """The prior with its networks on `device` in `dtype`, compiled if `compile` (see `compile_networks`)."""
    placed = prior.to(device, dtype)
    if compile:
        compile_networks(placed, device)
    return placed


def compile_networks(prior: Prior, device: torch.device) -> None:
    """Have the networks of `prior`, on their device, compiled when they are first called, in place.

    The first batch size gets a static graph and the second a dynamic one; batches of 1 and (on a CPU) of 16 and more
    have graphs of their own, as have calls with and without gradient. Raises UserError where PyTorch cannot compile,
    or for a prior without networks.
    """
    if not (networks := list(networks_of(prior))):
        raise UserError("compile=true: this prior has no networks to compile; leave it out")
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(2, device=device))
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"compile=true: PyTorch cannot compile on this machine ({reason}); leave it out") from error
    torch._functorch.config.donated_buffer = False  # twists ask for several gradients of one graph
    for network in networks:
        network.compile()


def networks_of(part: Any) -> Iterator[nn.Module]:
    """The modules that a prior calls: its denoiser, and the two halves of an autoencoder."""
    if isinstance(part, nn.Module):
        halves = [getattr(part, half, None) for half in ("encoder", "decoder")]
        yield from [half for half in halves if isinstance(half, nn.Module)] or [part]
    elif is_dataclass(part):
        for field in fields(part):
            yield from networks_of(getattr(part, field.name))
