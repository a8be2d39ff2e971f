"""Moving the weights of a foreign layout into diffusers networks: every one of them, or none."""

import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ldsmc_bench.checkpoints.cache import converted
from ldsmc_bench.errors import UserError
from ldsmc_bench.prior.digests import reason_unscored

Network = TypeVar("Network", bound=nn.Module)
V = TypeVar("V")
_OTHERS = "the file and its config are of different architectures"


@dataclass(frozen=True)
class Source:
    """Origin of one of our tensors: a key of the file and, of a fused query-key-value tensor, the part."""

    key: str
    part: int | None = None  # 0, 1, 2: query, key, value
    head_channels: int = 1


class Shape:
    """Hyper-parameters of a network that its weights do not imply."""

    def build(self) -> nn.Module:
        raise NotImplementedError

    def origin(self, key: str) -> Source:
        """Source of a parameter of `build()` in the layout; by default the layout has the keys of our network."""
        return Source(key)


def build_on_meta(shape: Shape, path: Path) -> Any:
    """The network without memory. Raises UserError for sizes that cannot be built, from a config beside `path`."""
    try:
        with torch.device("meta"):
            return shape.build()
    except Exception as error:  # whatever a library raises where sizes make no sense to it
        raise UserError(
            f"{path}: no network of the sizes in its config can be built ({' '.join(str(error).split())}); "
            "use the config published with the checkpoint"
        ) from error


def load_networks(
    path: Path,
    shapes: Mapping[str, Shape],
    layout: str,
    convert: Callable[[Mapping[str, nn.Module]], dict[str, Tensor]],
) -> dict[str, nn.Module]:
    """The networks of `shapes` with the weights in `path`, frozen: converted once, then memory-mapped from the cache.

    `convert` gets the networks without memory and returns their weights, as `convert_networks` does; `layout` as in
    `converted`.
    """
    networks = {name: build_on_meta(shape, path) for name, shape in shapes.items()}
    state = converted(path, layout, lambda: convert(networks))
    return {name: load_weights(network, strip_prefix(f"{name}.", state)) for name, network in networks.items()}


def convert_networks(
    networks: Mapping[str, nn.Module],
    shapes: Mapping[str, Shape],
    keys: Mapping[str, Callable[[str], str]],
    weights: Mapping[str, Tensor],
    path: Path,
    unneeded: Collection[str] = (),
) -> dict[str, Tensor]:
    """The file's weights in float32, each network's keys below its name; `keys` turns a key of a network's layout into
    that of the file, where a 1x1 convolution may replace a linear layer.

    Raises UserError naming the first key of the file that is missing, has another shape than the network's, or is
    neither used nor `unneeded`.
    """
    found, used = {}, set(unneeded)
    for name, network in networks.items():
        for ours, parameter in network.state_dict().items():
            source, shape = shapes[name].origin(ours), tuple(parameter.shape)
            used.add(key := keys[name](source.key))
            if (tensor := weights.get(key)) is None:
                raise UserError(f"{path}: missing key {key}; {_OTHERS}")
            whole = shape if source.part is None else (3 * shape[0], *shape[1:])
            whole += (1,) * (tensor.ndim - len(shape))
            if tuple(tensor.shape) != whole:
                raise UserError(f"{path}: {key} has shape {tuple(tensor.shape)}, but the config asks for {whole}")
            if source.part is not None:
                # "legacy" order: rows are grouped by head, and within a head query, key, value
                tensor = tensor.reshape(-1, 3, source.head_channels, *shape[1:])[:, source.part]
            found[f"{name}.{ours}"] = tensor.reshape(shape).float()
    for key in weights:
        if key not in used:
            raise UserError(f"{path}: unexpected key {key}; {_OTHERS}")
    return found


def load_weights(network: Network, state: Mapping[str, Tensor]) -> Network:
    """The network with the very tensors of `state`, not copies; eval mode, frozen."""
    network.load_state_dict(state, strict=True, assign=True)
    return network.requires_grad_(False).eval()


def strip_prefix(prefix: str, state: Mapping[str, V]) -> dict[str, V]:
    """The values whose keys begin with `prefix`, under the rest of their keys."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def random_networks(name: str, shapes: Mapping[str, Shape]) -> dict[str, nn.Module]:
    """Networks of random weights in place of any file, after a warning that names the prior; they are never scored."""
    print(f"warning: {reason_unscored(name)}", file=sys.stderr)
    return {part: randomise(shape.build) for part, shape in shapes.items()}


def randomise(build: Callable[[], Network], seed: int = 0) -> Network:
    """The network of `build` with its initial random weights, the same ones for a seed; eval mode, frozen.

    Embeddings, a codebook among them, are standard normal: diffusers begins with all codes nearly zero, which would
    make every decoded image alike.
    """
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        network = build()
        for module in network.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight)
    return network.requires_grad_(False).eval()
