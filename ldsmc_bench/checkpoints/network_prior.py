"""A network of any parametrisation as a prior: noise, v, the clean image, a flow's velocity or EDM's scaled output all
become `eps`, so that every sampler sees the same kind of prior.

References: Salimans & Ho, ICLR 2022, arXiv 2202.00512 (v); Lipman et al., ICLR 2023, arXiv 2210.02747 (flows); Karras
et al., NeurIPS 2022, arXiv 2206.00364, Table 1 (EDM).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldsmc_bench.checkpoints.levels import Levels
from ldsmc_bench.errors import UserError
from ldsmc_bench.prior.codec import Codec, place_network
from ldsmc_bench.prior.schedule import alpha_bar_at

Condition = Mapping[str, Tensor]  # each of one row
Call = Callable[[nn.Module, Tensor, Tensor, Condition], Tensor]  # of a network: inputs (R,C,h,w), times (R,), condition


def plain(network: nn.Module, x: Tensor, time: Tensor, condition: Condition) -> Tensor:
    """A network without a condition, which may return a tensor, a tuple or an object with `sample`."""
    out = network(x, time)
    return out if isinstance(out, Tensor) else out[0]


def cross_attending(network: nn.Module, x: Tensor, time: Tensor, condition: Condition) -> Tensor:
    """UNet2DConditionModel of Stable Diffusion 1, 2 and XL."""
    added = {key: value for key, value in condition.items() if key != "encoder_hidden_states"}
    states = condition["encoder_hidden_states"]
    return network(x, time, states, added_cond_kwargs=added or None, return_dict=False)[0]


def joint(network: nn.Module, x: Tensor, time: Tensor, condition: Condition) -> Tensor:
    """SD3Transformer2DModel."""
    return network(x, timestep=time, return_dict=False, **condition)[0]


def packed(network: nn.Module, x: Tensor, time: Tensor, condition: Condition) -> Tensor:
    """FluxTransformer2DModel: squares of four pixels are tokens with places."""
    h, w = x.shape[-2] // 2, x.shape[-1] // 2
    places = torch.cartesian_prod(torch.arange(1), torch.arange(h), torch.arange(w)).to(x)
    texts = x.new_zeros(condition["encoder_hidden_states"].shape[1], 3)
    tokens = F.pixel_unshuffle(x, 2).flatten(2).mT
    guidance = condition.get("guidance")
    others = {key: value for key, value in condition.items() if key != "guidance"}
    out = network(
        tokens, timestep=time / 1000, img_ids=places, txt_ids=texts, guidance=guidance, return_dict=False, **others
    )[0]
    return F.pixel_shuffle(out.mT.unflatten(2, (h, w)), 2)


@dataclass(frozen=True)
class NetworkPrior:
    """A diffusion or flow model of latents, or of images where it has no codec.

    Latents are (codec's - mean) / std. The condition is that of the prompt; guidance is away from `unconditional`.
    """

    network: nn.Module
    levels: Levels
    shape: tuple[int, int, int]
    image_size: int | tuple[int, int]
    digest: str
    call: Call = plain
    channels: int = 3  # of images
    codec: Codec | None = None
    mean: Tensor = field(default_factory=lambda: torch.zeros(1, 1, 1))
    std: Tensor = field(default_factory=lambda: torch.ones(1, 1, 1))
    condition: Condition = field(default_factory=dict)
    unconditional: Condition = field(default_factory=dict)
    guidance_scale: float = 1.0  # w: 1 is the model as it is

    @property
    def alpha_bar(self) -> Tensor:
        return self.levels.alpha_bar

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        full = torch.promote_types(dtype, torch.float32)
        return replace(
            self,
            network=place_network(self.network, device, dtype),
            codec=self.codec and self.codec.to(device, dtype),
            mean=self.mean.to(device, full),
            std=self.std.to(device, full),
            condition={key: value.to(device, dtype) for key, value in self.condition.items()},
            unconditional={key: value.to(device, dtype) for key, value in self.unconditional.items()},
        )

    def conditioned(self, labels: Sequence[int] | None) -> Self:
        return self

    def eps(self, z: Tensor, t: Tensor) -> Tensor:
        """The predicted noise. With guidance e_u + w (e_c - e_u), from one call of the network with twice the rows."""
        return self.eps_and_variance(z, t)[0]

    def eps_and_variance(self, z: Tensor, t: Tensor) -> tuple[Tensor, Tensor | None]:
        a = alpha_bar_at(self.alpha_bar, t).to(z.device).reshape(-1, 1, 1, 1)
        x, time = network_input(self.levels, z, a, t)
        out = self._guided(x, time).to(z.dtype)
        made, wanted = out.shape[1], z.shape[1]
        if made not in (wanted, 2 * wanted):
            raise UserError(f"prior: the network gives {made} channels; {wanted} are wanted, or {2 * wanted}")
        learned = self.levels.learned_variance and made == 2 * wanted  # else diffusers does without, too
        variance = (out[:, wanted:] + 1) / 2 if learned else None
        return predicted_noise(self.levels, z, out[:, :wanted], a), variance

    def encode(self, x: Tensor) -> Tensor:
        return x if self.codec is None else (self.codec.encode(x) - self.mean) / self.std

    def decode(self, z: Tensor) -> Tensor:
        return z if self.codec is None else self.codec.decode(z * self.std + self.mean)

    def _guided(self, x: Tensor, time: Tensor) -> Tensor:
        x, rows = x.to(next(self.network.parameters()).dtype), len(x)
        if self.guidance_scale == 1 or not self.unconditional:
            return self.call(self.network, x, time, _rows(self.condition, rows))
        free, bound = _rows(self.unconditional, rows), _rows(self.condition, rows)
        both = {key: torch.cat([free[key], bound[key]]) for key in bound}
        one, other = self.call(self.network, torch.cat([x, x]), torch.cat([time, time]), both).chunk(2)
        return one + self.guidance_scale * (other - one)


def _rows(condition: Condition, rows: int) -> dict[str, Tensor]:
    return {key: value.expand(rows, *value.shape[1:]) for key, value in condition.items()}


def network_input(levels: Levels, z: Tensor, a: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The input and the time (R,) that the network takes for latents z = sqrt(a) x_0 + sqrt(1 - a) n, `a` (R,1,1,1)."""
    if levels.prediction == "flow":  # (1 - s) x_0 + s n
        scale = a.sqrt() + (1 - a).sqrt()
        return z / scale.to(z), levels.times * ((1 - a).sqrt() / scale).flatten().to(z)
    if levels.prediction in ("edm", "edm_v"):  # c_in (x_0 + sigma n), c_noise = log(sigma) / 4
        c_in = 1 / (1 - a + levels.sigma_data**2 * a).sqrt()
        return c_in.to(z) * z, ((1 - a) / a).log().flatten().to(z) / 8
    return z, t


def predicted_noise(levels: Levels, z: Tensor, out: Tensor, a: Tensor) -> Tensor:
    """The noise n that an output of the network means, for latents z = sqrt(a) x_0 + sqrt(1 - a) n, `a` (R,1,1,1)."""
    signal, noise = a.sqrt(), (1 - a).sqrt()
    if levels.prediction == "v_prediction":  # v = sqrt(a) n - sqrt(1 - a) x_0
        return signal.to(z) * out + noise.to(z) * z
    if levels.prediction == "sample":
        return (z - signal.to(z) * out) / noise.to(z)
    if levels.prediction == "flow":  # v = n - x_0
        scale = signal + noise
        return (z + signal.to(z) * out) / scale.to(z)
    if levels.prediction in ("edm", "edm_v"):  # D = c_skip x + c_out F, for x = z / sqrt(a) at sigma
        s, square = levels.sigma_data, 1 - a + levels.sigma_data**2 * a
        sign = 1 if levels.prediction == "edm" else -1
        return (noise / square).to(z) * z - sign * (s * signal / square.sqrt()).to(z) * out
    return out
