"""The common part of priors in closed form: no networks, and the identity as codec."""

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
