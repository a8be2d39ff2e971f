"""The latent prior: a noise-predicting UNet in the latent space of an autoencoder, with or without a condition.

References: Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models"; Ho & Salimans 2022,
"Classifier-free diffusion guidance".
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.prior.codec import Codec, place_network


@dataclass(frozen=True)
class LatentPrior:
    """A latent diffusion model. A context is what a conditional UNet attends to: L vectors of D entries each."""

    unet: UNet2DModel | UNet2DConditionModel
    codec: Codec
    alpha_bar: Tensor
    shape: tuple[int, int, int]
    image_size: int
    digest: str
    context: Tensor | None = None  # (B,L,D), of each image of a batch; (1,L,D) before one is known
    unconditional: Tensor | None = None  # (1,L,D)
    guidance_scale: float = 1.0  # w: 1 is the conditional model as it is
    classes: Tensor | None = None  # (K,L,D), the context of each; the last means none; None: labels do not matter

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        contexts = {name: getattr(self, name) for name in ("context", "unconditional", "classes")}
        return replace(
            self,
            unet=place_network(self.unet, device, dtype),
            codec=self.codec.to(device, dtype),
            **{name: c.to(device, dtype) for name, c in contexts.items() if c is not None},
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
                    "choose one with classes, or set prior.guidance_scale=1"
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
        """The predicted noise. With guidance e_u + w (e_c - e_u), from one call of the network with twice the rows."""
        if self.context is None or self.unconditional is None:
            return self._predict(z, t, None)
        context = self.context.repeat_interleave(len(z) // len(self.context), dim=0)
        if self.guidance_scale == 1:
            return self._predict(z, t, context)
        both = torch.cat([self.unconditional.expand_as(context), context])
        free, bound = self._predict(torch.cat([z, z]), torch.cat([t, t]), both).chunk(2)
        return free + self.guidance_scale * (bound - free)

    def eps_and_variance(self, z: Tensor, t: Tensor) -> tuple[Tensor, None]:
        return self.eps(z, t), None

    def encode(self, x: Tensor) -> Tensor:
        return self.codec.encode(x)

    def decode(self, z: Tensor) -> Tensor:
        return self.codec.decode(z)

    def _predict(self, z: Tensor, t: Tensor, context: Tensor | None) -> Tensor:
        # An unconditional UNet takes class labels in the place of the context, and None means none to both.
        return self.unet(z.to(self.unet.dtype), t, context, return_dict=False)[0].to(z.dtype)
