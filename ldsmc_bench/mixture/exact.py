"""The common part of priors in closed form: no networks, and the identity as codec."""

import torch
from torch import Tensor


class ExactPrior:
    """A base for priors whose noise prediction is exact at any level, between training steps too."""

    alpha_bar: Tensor

    def eps(self, z: Tensor, t: Tensor) -> Tensor:
        """Predicted noise for z (R,C,h,w) at training steps t (R,), whole or not."""
        raise NotImplementedError

    def eps_and_variance(self, z: Tensor, t: Tensor) -> tuple[Tensor, None]:
        return self.eps(z, t), None

    def encode(self, x: Tensor) -> Tensor:
        return x

    def decode(self, z: Tensor) -> Tensor:
        return z

    def level(self, t: Tensor) -> Tensor:
        """alpha_bar (R,) at training steps t (R,), interpolated between two of them, the last's beyond the last."""
        alpha_bar = self.alpha_bar.to(t.device)
        below = t.floor().long().clamp(0, len(alpha_bar) - 1)
        if not t.is_floating_point():
            return alpha_bar[below]
        above = (below + 1).clamp(max=len(alpha_bar) - 1)
        return torch.lerp(alpha_bar[below], alpha_bar[above], (t - below).double().clamp(0, 1))
