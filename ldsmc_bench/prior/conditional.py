"""A latent prior whose noise prediction depends on a class or a text, by cross-attention."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.prior.codec import Codec, placed


@dataclass(frozen=True)
class ConditionalPrior:
    """A conditional latent diffusion model (Rombach et al. 2022) with classifier-free guidance (Ho & Salimans 2022).

    Contexts are what the UNet attends to: L vectors of D entries each.
    """

    unet: UNet2DConditionModel
    codec: Codec
    context: Tensor  # (B,L,D), of each image of a batch; (1,L,D) before one is known
    unconditional: Tensor  # (1,L,D)
    guidance_scale: float  # w: 1 is the conditional model as it is
    alpha_bar: Tensor
    shape: tuple[int, int, int]
    image_size: int
    digest: str
    classes: Tensor | None = None  # (K,L,D), the context of each; the last means none; None: labels do not matter

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """The same prior with its networks and contexts on `device` in `dtype`."""
        return replace(
            self,
            unet=placed(self.unet, device, dtype),
            codec=self.codec.to(device, dtype),
            context=self.context.to(device, dtype),
            unconditional=self.unconditional.to(device, dtype),
            classes=None if self.classes is None else self.classes.to(device, dtype),
        )

    def conditioned(self, labels: Sequence[int] | None) -> Self:
        """The prior of a batch: of R rows of z, R / len(labels) in a row belong to each image.

        Without labels it is the unconditional model, which class-conditional ones learn beside. Raises UserError where
        there is then nothing to guide towards, or for a class that the model does not know.
        """
        if self.classes is None:
            return self
        if labels is None:
            if self.guidance_scale != 1:
                raise UserError(
                    f"prior.guidance_scale={self.guidance_scale}: the data set has no classes to guide towards; "
                    "choose dataset=imagenet or set prior.guidance_scale=1"
                )
            return replace(self, context=self.unconditional)
        for label in labels:
            if not 0 <= label < len(self.classes):
                raise UserError(
                    f"dataset: class {label} is not one that the prior knows, 0 to {len(self.classes) - 1}; "
                    "choose the data set that goes with the prior"
                )
        return replace(self, context=self.classes[torch.tensor(labels, device=self.classes.device)])

    def eps(self, z: Tensor, t: Tensor) -> Tensor:
        """e_u + w (e_c - e_u), from one call of the network with twice the rows; for w = 1, e_c alone."""
        context = self.context.repeat_interleave(len(z) // len(self.context), dim=0)
        if self.guidance_scale == 1:
            return self._predicted(z, t, context)
        both = torch.cat([self.unconditional.expand_as(context), context])
        free, bound = self._predicted(torch.cat([z, z]), torch.cat([t, t]), both).chunk(2)
        return free + self.guidance_scale * (bound - free)

    def eps_and_variance(self, z: Tensor, t: Tensor) -> tuple[Tensor, None]:
        return self.eps(z, t), None

    def encode(self, x: Tensor) -> Tensor:
        return self.codec.encode(x)

    def decode(self, z: Tensor) -> Tensor:
        return self.codec.decode(z)

    def _predicted(self, z: Tensor, t: Tensor, context: Tensor) -> Tensor:
        return self.unet(z.to(self.unet.dtype), t, context, return_dict=False)[0].to(z.dtype)
