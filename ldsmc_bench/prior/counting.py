"""A prior that counts what is asked of it: rows through each network, forward and backward."""

from collections import Counter
from dataclasses import dataclass, field

from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.prior.interface import Calibrated
from ldsmc_bench.prior.wrapped import Wrapped
from ldsmc_bench.problem.operators import Operator


@dataclass(frozen=True)
class Counted(Wrapped):
    """Looks like `prior` to a sampler; `calls` tallies rows (images x particles), as `denoiser_forward` and so on."""

    calls: Counter[str] = field(default_factory=Counter)

    def eps(self, z: Tensor, t: Tensor) -> Tensor:
        return self._counted("denoiser", super().eps(z, t))

    def eps_and_variance(self, z: Tensor, t: Tensor) -> tuple[Tensor, Tensor | None]:
        eps, variance = super().eps_and_variance(z, t)
        return self._counted("denoiser", eps), variance

    def encode(self, x: Tensor) -> Tensor:
        z = super().encode(x)
        return z if z is x else self._counted("encoder", z)  # a pixel prior's codec is no network

    def decode(self, z: Tensor) -> Tensor:
        x = super().decode(z)
        return x if x is z else self._counted("decoder", x)

    def unexplained(self, operator: Operator, a: float) -> Tensor:
        """Raises UserError where the prior was not calibrated."""
        if not isinstance(self.prior, Calibrated):
            raise UserError("method.sample.twist=cal: this prior was not calibrated; use tds, tmpd or paper")
        return self.prior.unexplained(operator, a)

    def per_image(self, images: int) -> dict[str, float]:
        """Calls divided by the images that shared them."""
        names = [
            f"{network}_{way}" for network in ("denoiser", "decoder", "encoder") for way in ("forward", "backward")
        ]
        return {name: self.calls[name] / images for name in names}

    def _counted(self, network: str, output: Tensor) -> Tensor:
        rows = len(output)
        self.calls[f"{network}_forward"] += rows
        if output.requires_grad:
            output.register_hook(lambda gradient: self.calls.update({f"{network}_backward": rows}))
        return output
