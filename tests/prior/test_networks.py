import pytest
import torch

from ldsmc_bench.prior.codec import nearest_code, quantise
from ldsmc_bench.toyfaces import priors


@pytest.mark.parametrize("codes", [1, 51, 192])  # in groups of 2, 2 and 64
def test_the_nearest_code_is_the_first_that_brute_force_finds(codes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    codebook, vectors = torch.randn(codes, 3, generator=generator), torch.randn(300, 3, generator=generator)
    codebook = torch.cat([codebook, codebook])  # every code twice
    brute = (vectors[:, None] - codebook[None]).square().sum(dim=2).argmin(dim=1)
    assert torch.equal(nearest_code(codebook, vectors), brute)


def test_quantising_keeps_place_and_passes_the_gradient_through() -> None:
    codebook = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    z = torch.full((1, 3, 2, 2), 0.9)
    z[0, :, 0, 1] = 0.2
    z.requires_grad_(True)
    q = quantise(codebook, z)
    assert torch.allclose(q[0, 0], torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    q.backward(torch.arange(12.0).reshape(1, 3, 2, 2))
    assert torch.equal(z.grad, torch.arange(12.0).reshape(1, 3, 2, 2))


@pytest.mark.parametrize(
    ("make", "side"), [(priors.new_latent_unet, 16), (priors.PixelUNet, 64)], ids=["latent", "pixel"]
)
def test_denoisers_keep_the_shape_and_heed_the_timestep(make, side: int) -> None:
    torch.manual_seed(0)
    network = make().eval().requires_grad_(False)
    x = torch.randn(2, 3, side, side)
    outputs = [network(x, torch.full((2,), t)) for t in (1, 900)]
    outputs = [o if isinstance(o, torch.Tensor) else o.sample for o in outputs]
    assert outputs[0].shape == x.shape
    assert not torch.allclose(outputs[0], outputs[1])
