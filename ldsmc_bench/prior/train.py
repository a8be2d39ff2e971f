"""Training of the embedded priors: `python -m ldsmc_bench.prior.train autoencoder|decoder|latent|pixel`.

Order: the latent prior needs the autoencoder; `decoder` refines the autoencoder and leaves its latents as they
are, so it may come last. Each command resumes where it was stopped.
"""

import argparse
from pathlib import Path

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor
from diffusers.models.autoencoders.vq_model import VQModel
from torch import Tensor, nn
from torch.nn import functional as F

from ldsmc_bench.prior import networks, schedule
from ldsmc_bench.prior.assets import ASSETS, made
from ldsmc_bench.prior.latent import toyfaces_autoencoder
from ldsmc_bench.prior.training import as_image, device, fit, render, ship
from ldsmc_bench.problem import toyfaces

AUTOENCODER = ASSETS / "toyfaces_autoencoder.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ldsmc_bench.prior.train", description=__doc__)
    parser.add_argument("network", choices=list(TRAINERS))
    parser.add_argument("--steps", type=int, required=True, help="optimisation steps")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faces", type=int, default=40000, help="training faces to draw")
    parser.add_argument("--out", type=Path, help="where the weights go (default: the package's assets)")
    options = parser.parse_args()
    train, out = TRAINERS[options.network]
    train(render(toyfaces.ids("train")[: options.faces]), options.out or out, options)


def train_autoencoder(images: Tensor, out: Path, options: argparse.Namespace) -> None:
    """Continuous latents first, then a codebook from k-means on them, then both together.

    Starting the codes from k-means leaves none of them dead, and needs no revival.
    """
    module = networks.autoencoder()
    codes_from = options.steps // 2
    # latents of about unit spread that bear some noise survive the quantisation that follows
    noise, spread_penalty, commitment = 0.08, 1e-3, 0.25

    def loss(module: VQModel, generator: torch.Generator, step: int) -> Tensor:
        rows = torch.randint(len(images), (options.batch_size,), generator=generator)
        x = as_image(images[rows]).to(device(), memory_format=torch.channels_last)
        z = module.encode(x).latents.float()
        if step < codes_from:
            latent = z + noise * torch.randn(z.shape, generator=generator).to(z)
            extra = spread_penalty * z.square().mean()
        else:
            codebook = module.quantize.embedding.weight
            latent = networks.quantise(codebook, z)
            codes = networks.codes_of(codebook, z.detach())
            extra = F.mse_loss(codes, z.detach()) + commitment * F.mse_loss(z, codes.detach())
        return reconstruction_loss(module, latent, x) + extra

    def start_codebook(module: VQModel, step: int) -> None:
        if step == codes_from:
            vectors = encodings(module, images[:512]).permute(0, 2, 3, 1).reshape(-1, 3)
            module.quantize.embedding.weight.data.copy_(k_means(vectors, module.quantize.n_e, options.seed))

    ema = fit(module, loss, out=out, steps=options.steps, lr=options.lr, seed=options.seed, before_step=start_codebook)
    # the codes' average lags behind their start, so the last codes are kept and not their average
    ema.quantize.embedding.weight.data.copy_(module.quantize.embedding.weight.data)
    scale = 1 / encodings(ema, render(toyfaces.ids("validation")[:512])).std().item()
    ship(ema, out, dtype=torch.float16, seed=options.seed, scale=scale, **validated(ema))


def train_decoder(images: Tensor, out: Path, options: argparse.Namespace) -> None:
    """Refine the decoder on the quantised latents of the shipped autoencoder, whose encoder and codes stay."""
    module, scale = toyfaces_autoencoder()
    codes = torch.cat(
        [networks.codes_of(module.quantize.embedding.weight, z) for z in encodings(module, images).split(256)]
    )
    module.decoder.requires_grad_(True)
    module.post_quant_conv.requires_grad_(True)

    def loss(module: VQModel, generator: torch.Generator, step: int) -> Tensor:
        rows = torch.randint(len(images), (options.batch_size,), generator=generator)
        latent = codes[rows].to(device(), memory_format=torch.channels_last)
        return reconstruction_loss(module, latent, as_image(images[rows]).to(device()))

    ema = fit(module, loss, out=out, steps=options.steps, lr=options.lr, seed=options.seed)
    ship(ema, out, dtype=torch.float16, seed=options.seed, scale=scale, refined=made(AUTOENCODER), **validated(ema))


def reconstruction_loss(module: VQModel, latent: Tensor, x: Tensor) -> Tensor:
    """Absolute and squared error of the decoded latent."""
    error = module.decode(latent, force_not_quantize=True).sample.float() - x
    return error.abs().mean() + 2 * error.square().mean()


def validated(vq: VQModel) -> dict[str, float]:
    """Mean PSNR (dB) over 512 validation faces, encoded, quantised and decoded, and how many codes they use."""
    images = render(toyfaces.ids("validation")[:512])
    z = encodings(vq, images)
    mse = (decodings(vq, z).clamp(-1, 1) - as_image(images)).square().mean(dim=(1, 2, 3)) / 4
    codes = networks.nearest(vq.quantize.embedding.weight, z.permute(0, 2, 3, 1).reshape(-1, 3).to(device()))
    facts = {"validation_psnr": round((-10 * torch.log10(mse)).mean().item(), 3), "codes_used": codes.unique().numel()}
    print(f"\nvalidation: {facts}")
    return facts


def train_latent(images: Tensor, out: Path, options: argparse.Namespace) -> None:
    """Noise prediction on scaled latents before quantisation, LDM's schedule."""
    vq, scale = toyfaces_autoencoder()
    latents = encodings(nn.Module.to(vq, device()), images) * scale
    train_denoiser(networks.latent_unet(), latents, schedule.scaled_linear(), 0, out, options)


def train_pixel(images: Tensor, out: Path, options: argparse.Namespace) -> None:
    """Prediction of v on pixels, which gives the noise, DDPM's linear schedule, fixed variance."""
    train_denoiser(networks.PixelUNet(), images, schedule.linear(), 1, out, options)


def train_denoiser(
    module: nn.Module, data: Tensor, alpha_bar: Tensor, least: float, out: Path, options: argparse.Namespace
) -> None:
    """Squared error of the predicted x_0, weighted by min(SNR + `least`, 5) (Hang et al. 2023, arXiv 2303.09556).

    `least` is 0 for a network that predicts eps, and 1 for one that predicts v, which keeps its weight at high noise.
    The timesteps of a batch are stratified over the schedule, which lowers the variance of the loss.
    """
    alpha_bar = alpha_bar.float()
    snr = alpha_bar / (1 - alpha_bar)
    weight = (snr + least).clamp(max=5) / snr  # of the error of eps, which is SNR times that of x_0

    def loss(module: nn.Module, generator: torch.Generator, step: int) -> Tensor:
        rows = torch.randint(len(data), (options.batch_size,), generator=generator)
        z = as_image(data[rows]) if data.dtype == torch.uint8 else data[rows]
        strata = torch.arange(options.batch_size) + torch.rand(options.batch_size, generator=generator)
        t = (strata / options.batch_size * len(alpha_bar)).long().clamp(max=len(alpha_bar) - 1)
        eps = torch.randn(z.shape, generator=generator)
        a = alpha_bar[t].reshape(-1, 1, 1, 1)
        z_t = (a.sqrt() * z + (1 - a).sqrt() * eps).to(device(), memory_format=torch.channels_last)
        predicted = module(z_t, t.to(device()))
        predicted = predicted if isinstance(predicted, Tensor) else predicted.sample
        error = (predicted.float() - eps.to(device())).square().mean(dim=(1, 2, 3))
        return (weight[t].to(error) * error).mean()

    quick_in_bfloat16(module)
    ema = fit(module, loss, out=out, steps=options.steps, lr=options.lr, seed=options.seed, bfloat16=True)
    ship(ema, out, dtype=torch.float16, seed=options.seed)


def quick_in_bfloat16(module: nn.Module) -> None:
    """Keep what a CPU does slowly in bfloat16 out of it: group norms, and attention as one fused call."""
    for part in module.modules():
        if isinstance(part, nn.GroupNorm):
            part.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(),))
        if isinstance(part, Attention):
            part.set_processor(AttnProcessor())


@torch.no_grad()
def encodings(vq: VQModel, images: Tensor) -> Tensor:
    """Latents before quantisation of uint8 images, on the CPU."""
    training, blocks = vq.training, []
    vq.eval()
    for block in images.split(256):
        blocks.append(vq.encode(as_image(block).to(device())).latents.cpu())
    vq.train(training)
    return torch.cat(blocks)


@torch.no_grad()
def decodings(vq: VQModel, z: Tensor) -> Tensor:
    """Images of quantised latents, on the CPU."""
    codebook = vq.quantize.embedding.weight
    return torch.cat(
        [
            vq.decode(networks.quantise(codebook, b.to(device())), force_not_quantize=True).sample.cpu()
            for b in z.split(256)
        ]
    )


def k_means(vectors: Tensor, k: int, seed: int, rounds: int = 10) -> Tensor:
    """Lloyd's algorithm on (n,d) vectors; an empty cluster takes a random vector."""
    generator = torch.Generator().manual_seed(seed)
    centres = vectors[torch.randperm(len(vectors), generator=generator)[:k]].clone()
    for _ in range(rounds):
        owner = networks.nearest(centres, vectors)
        count = torch.bincount(owner, minlength=k).unsqueeze(1)
        total = torch.zeros_like(centres).index_add_(0, owner, vectors)
        lost = vectors[torch.randint(len(vectors), (k,), generator=generator)]
        centres = torch.where(count > 0, total / count.clamp(min=1), lost)
    return centres


TRAINERS = {
    "autoencoder": (train_autoencoder, AUTOENCODER),
    "decoder": (train_decoder, AUTOENCODER),
    "latent": (train_latent, ASSETS / "toyfaces_latent.safetensors"),
    "pixel": (train_pixel, ASSETS / "toyfaces_pixel.safetensors"),
}

if __name__ == "__main__":
    main()
