"""A conditional latent diffusion model but for its weights: three networks, a schedule, the prior that they make."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ldsmc_bench.errors import UserError
from ldsmc_bench.prior import compvis_kl, compvis_vq, schedule, spatial_unet
from ldsmc_bench.prior.clip_text import TextEncoder, TextShape
from ldsmc_bench.prior.clip_tokens import EMPTY
from ldsmc_bench.prior.codec import Codec, KlCodec, VqCodec
from ldsmc_bench.prior.compvis_kl import KlShape
from ldsmc_bench.prior.compvis_vq import VqShape
from ldsmc_bench.prior.conditional import ConditionalPrior
from ldsmc_bench.prior.spatial_unet import SpatialUnetShape


@dataclass(frozen=True)
class ClassShape:
    """An embedding of classes; the last one means none, for guidance."""

    classes: int
    channels: int


@dataclass(frozen=True)
class Model:
    """What the weights of a conditional latent diffusion model do not say themselves."""

    unet: SpatialUnetShape
    first_stage: VqShape | KlShape
    conditioner: ClassShape | TextShape
    image_size: int
    scale: float = 1.0  # of latents, after the encoder
    steps: int = 1000
    beta_start: float = 0.0015
    beta_end: float = 0.0195

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        side = self.image_size // 2 ** (len(self.first_stage.mult) - 1)
        return (self.unet.channels_in, side, side)

    def alpha_bar(self) -> Tensor:
        return schedule.scaled_linear(self.steps, self.beta_start, self.beta_end)


def builders(model: Model) -> dict[str, Callable[[], nn.Module]]:
    """What builds each of the model's networks: unet, first_stage, conditioner."""
    first_stage, conditioner = model.first_stage, model.conditioner
    return {
        "unet": lambda: spatial_unet.build(model.unet),
        "first_stage": lambda: (
            compvis_vq.build(first_stage) if isinstance(first_stage, VqShape) else compvis_kl.build(first_stage)
        ),
        "conditioner": lambda: (
            nn.Embedding(conditioner.classes, conditioner.channels)
            if isinstance(conditioner, ClassShape)
            else TextEncoder(conditioner)
        ),
    }


@torch.no_grad()
def assembled(
    model: Model,
    networks: Mapping[str, nn.Module],
    digest: str,
    guidance_scale: float,
    prompt: Sequence[int] = EMPTY,
) -> ConditionalPrior:
    """The prior of `model` with these networks, of which the conditioner is run here and not kept.

    `prompt`: tokens, where the conditioner reads text; guidance is away from the empty prompt.
    Raises UserError where the latents of such images cannot be halved as often as the UNet does.
    """
    halvings = 2 ** (len(model.unet.mult) + len(model.first_stage.mult) - 2)
    if model.image_size % halvings:
        raise UserError(f"prior.image_size={model.image_size}: must be a multiple of {halvings} for this network")
    classes = None
    if isinstance(conditioner := networks["conditioner"], nn.Embedding):
        classes = conditioner.weight[:, None].clone()
        context = unconditional = classes[-1:]
    else:
        context, unconditional = (conditioner(torch.tensor([tokens])) for tokens in (prompt, EMPTY))
        if tuple(prompt) == EMPTY:
            guidance_scale = 1.0  # towards the empty prompt and away from it: nothing, for twice the cost
    return ConditionalPrior(
        unet=networks["unet"],  # type: ignore[arg-type]
        codec=_codec(networks["first_stage"], model.scale),
        context=context,
        unconditional=unconditional,
        guidance_scale=guidance_scale,
        alpha_bar=model.alpha_bar(),
        shape=model.latent_shape,
        image_size=model.image_size,
        digest=digest,
        classes=classes,
    )


def expect_scale(guidance_scale: object) -> None:
    """Raises UserError unless `guidance_scale` is a number that guides."""
    if isinstance(guidance_scale, bool) or not isinstance(guidance_scale, int | float) or not guidance_scale >= 0:
        raise UserError(f"prior.guidance_scale={guidance_scale}: must be a number from 0 on; 1 is without guidance")


def _codec(network: nn.Module, scale: float) -> Codec:
    if isinstance(network, compvis_vq.VQModel):
        return VqCodec(network, network.quantize.embedding.weight.detach().clone(), scale)
    return KlCodec(network, scale)  # type: ignore[arg-type]
