"""A latent diffusion model without its weights: the shapes of its networks, its schedule, the prior that they make."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ldsmc_bench.checkpoints.clip import EMPTY, TextShape
from ldsmc_bench.checkpoints.convert import Shape
from ldsmc_bench.checkpoints.latent import LatentPrior
from ldsmc_bench.errors import UserError
from ldsmc_bench.prior import schedule
from ldsmc_bench.prior.codec import wrap_autoencoder


@dataclass(frozen=True)
class ClassShape(Shape):
    """An embedding of classes; the last one means none, for guidance."""

    classes: int
    channels: int

    def build(self) -> nn.Embedding:
        return nn.Embedding(self.classes, self.channels)


@dataclass(frozen=True)
class Model:
    """A latent diffusion model without its weights."""

    unet: Any  # a Shape with `channels_in` and `halvings`
    first_stage: Any  # a Shape with `halvings`
    conditioner: ClassShape | TextShape | None
    image_size: int
    scale: float = 1.0  # of latents, after the encoder
    steps: int = 1000
    beta_start: float = 0.0015
    beta_end: float = 0.0195

    @property
    def shapes(self) -> dict[str, Shape]:
        """The shape of each network: unet, first_stage and, where the model has a condition, conditioner."""
        shapes: dict[str, Shape] = {"unet": self.unet, "first_stage": self.first_stage}
        return shapes | ({"conditioner": self.conditioner} if self.conditioner else {})

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        side = self.image_size // 2**self.first_stage.halvings
        return (self.unet.channels_in, side, side)

    def alpha_bar(self) -> Tensor:
        return schedule.scaled_linear(self.steps, self.beta_start, self.beta_end)

    def identity(self) -> dict[str, Any]:
        """The values that enter the digest of a prior. Names are part of them: those of an unconditional model, which
        has a VQ autoencoder, are older than the others'."""
        values = asdict(self)
        if self.conditioner is None:
            del values["conditioner"]
            values["vq"] = values.pop("first_stage")
        return values

    def settings(self, guidance_scale: float, prompt: Sequence[int]) -> dict[str, Any]:
        """All that a digest is made of, but for the weights."""
        settings: dict[str, Any] = {"layout": "compvis", "model": self.identity()}
        if self.conditioner is not None:
            settings |= {"layout": "cin256", "guidance_scale": guidance_scale}
        if isinstance(self.conditioner, TextShape):
            settings |= {"layout": "stable_diffusion", "prompt": prompt}
        return settings


@torch.no_grad()
def assemble(
    model: Model, networks: Mapping[str, Any], digest: str, guidance_scale: float, prompt: Sequence[int]
) -> LatentPrior:
    """The prior of `model` with these networks, of which the conditioner is run here and not kept.

    `prompt`: tokens, where the conditioner reads text; guidance is away from the empty prompt.
    Raises UserError where the latents of such images cannot be halved as often as the UNet does.
    """
    unit = 2 ** (model.unet.halvings + model.first_stage.halvings)
    if model.image_size % unit:
        raise UserError(f"prior.image_size={model.image_size}: must be a multiple of {unit} for this network")
    classes = context = unconditional = None
    conditioner = networks.get("conditioner")
    if isinstance(conditioner, nn.Embedding):
        classes = conditioner.weight[:, None].clone()
        context = unconditional = classes[-1:]
    elif conditioner is not None:
        places = torch.arange(len(EMPTY))[None]  # no file holds transformers' own
        context, unconditional = (
            conditioner(torch.tensor([tokens]), position_ids=places).last_hidden_state for tokens in (prompt, EMPTY)
        )
        if tuple(prompt) == EMPTY:
            guidance_scale = 1.0  # towards the empty prompt and away from it: nothing, for twice the cost
    return LatentPrior(
        unet=networks["unet"],
        codec=wrap_autoencoder(networks["first_stage"], model.scale),
        alpha_bar=model.alpha_bar(),
        shape=model.latent_shape,
        image_size=model.image_size,
        digest=digest,
        context=context,
        unconditional=unconditional,
        guidance_scale=guidance_scale,
        classes=classes,
    )
