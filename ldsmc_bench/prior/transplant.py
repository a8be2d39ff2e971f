"""Moving the weights of a foreign layout into diffusers networks: every one of them, or none."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from ldsmc_bench.errors import UserError

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Origin:
    """Where one of our tensors comes from: a key of the file and, of a fused query-key-value tensor, which part."""

    key: str
    part: int | None = None  # 0, 1, 2: query, key, value
    head_channels: int = 1


def inside(ours: str, theirs: str, names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Pairs (our layer, theirs) of one block, from its two paths and the names of the layers in it."""
    return ((f"{ours}.{our_name}", f"{theirs}.{their_name}") for our_name, their_name in names.items())


def transplant(
    build: Callable[[], Network], origins: Mapping[str, Origin], weights: Mapping[str, Tensor], path: Path
) -> Network:
    """The network of `build`, holding the file's weights; eval mode, frozen, float32.

    Raises UserError as `moved` does.
    """
    return filled(build, moved(build, origins, weights, path))


def moved(
    build: Callable[[], Network], origins: Mapping[str, Origin], weights: Mapping[str, Tensor], path: Path
) -> dict[str, Tensor]:
    """The file's weights under the keys of `build`'s network, float32. `origins` maps each of the network's keys.

    Raises UserError naming the first key of the file that is missing or has another shape than the network's.
    """
    return {
        ours: _fetch(weights, origins[ours], tuple(parameter.shape), path)
        for ours, parameter in _weightless(build).state_dict().items()
    }


def filled(build: Callable[[], Network], state: Mapping[str, Tensor]) -> Network:
    """The network of `build` holding the very tensors of `state`, not copies; eval mode, frozen.

    Built without memory of its own, so that no weight can be left at random; `state` must have them all, as `moved`
    gives them (RuntimeError otherwise).
    """
    network = _weightless(build)
    network.load_state_dict(state, strict=True, assign=True)
    return network.requires_grad_(False).eval()


def below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose keys begin with `prefix`, under what is left of them."""
    return {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}


def _weightless(build: Callable[[], Network]) -> Network:
    """Raises UserError for a network that cannot be: its sizes come from a config that others wrote."""
    try:
        with torch.device("meta"):
            return build()
    except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        raise UserError(
            f"no network of the sizes in the checkpoint's config can be built ({' '.join(str(error).split())}); "
            "use the config published with the checkpoint"
        ) from error


def refuse_leftovers(weights: Mapping[str, Tensor], used: Collection[str], path: Path) -> None:
    """Raises UserError naming the first key of the file that nothing used: the file is of another architecture."""
    for key in weights:
        if key not in used:
            raise UserError(f"{path}: unexpected key {key}; the file and its config are of different architectures")


def _fetch(weights: Mapping[str, Tensor], origin: Origin, shape: tuple[int, ...], path: Path) -> Tensor:
    if origin.key not in weights:
        raise UserError(f"{path}: missing key {origin.key}; the file and its config are of different architectures")
    tensor = weights[origin.key]
    whole = shape if origin.part is None else (3 * shape[0], *shape[1:])
    ones = (1,) * (tensor.ndim - len(shape))  # a 1x1 convolution in the file may be a linear layer here
    if tuple(tensor.shape) != whole + ones:
        raise UserError(f"{path}: {origin.key} has shape {tuple(tensor.shape)}, but the config asks for {whole + ones}")
    if origin.part is not None:
        # "legacy" order: rows are grouped by head, and within a head query, key, value
        tensor = tensor.reshape(-1, 3, origin.head_channels, *shape[1:])[:, origin.part]
    return tensor.reshape(shape).float()
