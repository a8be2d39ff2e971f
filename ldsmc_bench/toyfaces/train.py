"""Train an embedded network: `python -m ldsmc_bench train autoencoder|decoder|latent|pixel|features`.

The latent prior needs the autoencoder; `decoder` refines the autoencoder and leaves its latents as they are, so it may
come last. Each command resumes where it was stopped.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor
from diffusers.models.autoencoders.vq_model import VQModel
from scipy.cluster.vq import kmeans2
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.functional import gaussian_blur

from ldsmc_bench import toyfaces
from ldsmc_bench.cli import Options, entry
from ldsmc_bench.errors import UserError
from ldsmc_bench.prior import schedule
from ldsmc_bench.prior.codec import codes_of, nearest_code, quantise
from ldsmc_bench.scoring.paired import unit_range
from ldsmc_bench.toyfaces import priors
from ldsmc_bench.toyfaces.assets import ASSETS, load, training_facts
from ldsmc_bench.toyfaces.features import WEIGHTS, FeatureNetwork
from ldsmc_bench.toyfaces.training import DEVICE, fit, render, ship

AUTOENCODER = ASSETS / "toyfaces_autoencoder.safetensors"
SHIFT = 2  # pixels by which pictures of the feature network are moved


@entry
def main() -> None:
    parser = Options("train", __doc__)
    parser.add_argument("network", choices=list(TRAINERS))
    parser.add_argument("--steps", type=int, required=True, help="optimisation steps")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faces", type=int, default=40000, help="training faces to draw")
    parser.add_argument("--start", type=Path, help="weights of a denoiser to go on from (default: random ones)")
    parser.add_argument("--out", type=Path, help="where the weights go (default: the package's assets)")
    options = parser.read()
    torch.manual_seed(options.seed)  # of the first weights
    if options.start and options.network not in ("latent", "pixel"):
        raise UserError(f"start={options.start}: latent and pixel alone go on from weights; leave it out")
    options.earlier = {"start": training_facts(options.start)} if options.start else {}  # read before hours of work
    train, out = TRAINERS[options.network]
    train(render(toyfaces.ids("train")[: options.faces]), options.out or out, options)


def train_autoencoder(images: Tensor, out: Path, options: argparse.Namespace) -> None:
    """Continuous latents first, then a codebook from k-means on them, so that no code is dead, then both."""
    codes_from = options.steps // 2
    # latents of about unit spread that bear some noise survive the quantisation that follows
    noise, spread_penalty, commitment = 0.08, 1e-3, 0.25

    def loss(module: VQModel, generator: torch.Generator, step: int) -> Tensor:
        codebook = module.quantize.embedding.weight
        if step == codes_from:
            vectors = encode(module, images[:512]).permute(0, 2, 3, 1).reshape(-1, 3)
            centres, _ = kmeans2(vectors.numpy(), len(codebook), minit="points", seed=options.seed)
            codebook.data.copy_(torch.from_numpy(centres))
        rows = torch.randint(len(images), (options.batch_size,), generator=generator)
        x = as_image(images[rows]).to(DEVICE, memory_format=torch.channels_last)
        z = module.encode(x).latents.float()
        if step < codes_from:
            latent = z + noise * torch.randn(z.shape, generator=generator).to(z)
            extra = spread_penalty * z.square().mean()
        else:
            latent, codes = quantise(codebook, z), codes_of(codebook, z.detach())
            extra = F.mse_loss(codes, z.detach()) + commitment * F.mse_loss(z, codes.detach())
        return reconstruction_loss(module, latent, x) + extra

    module = priors.new_autoencoder()
    ema = fit(module, loss, out=out, steps=options.steps, lr=options.lr, seed=options.seed)
    # the codes' average lags behind their start, so the last codes are kept and not their average
    ema.quantize.embedding.weight.data.copy_(module.quantize.embedding.weight.data)
    scale = 1 / encode(ema, render(toyfaces.ids("validation")[:512])).std().item()
    ship(ema, out, dtype=torch.float16, seed=options.seed, scale=scale, **validate(ema))


def train_decoder(images: Tensor, out: Path, options: argparse.Namespace) -> None:
    """Refine the decoder on the quantised latents of the shipped autoencoder, whose encoder and codes stay."""
    module, scale = priors.autoencoder()
    codes = torch.cat([codes_of(module.quantize.embedding.weight, z) for z in encode(module, images).split(256)])
    module.decoder.requires_grad_(True)
    module.post_quant_conv.requires_grad_(True)

    def loss(module: VQModel, generator: torch.Generator, step: int) -> Tensor:
        rows = torch.randint(len(images), (options.batch_size,), generator=generator)
        latent = codes[rows].to(DEVICE, memory_format=torch.channels_last)
        return reconstruction_loss(module, latent, as_image(images[rows]).to(DEVICE))

    ema = fit(module, loss, out=out, steps=options.steps, lr=options.lr, seed=options.seed)
    facts = {"scale": scale, "refined": training_facts(AUTOENCODER), **validate(ema)}
    ship(ema, out, dtype=torch.float16, seed=options.seed, **facts)


def reconstruction_loss(module: VQModel, latent: Tensor, x: Tensor) -> Tensor:
    """Absolute and squared error of the decoded latent."""
    error = module.decode(latent, force_not_quantize=True).sample.float() - x
    return error.abs().mean() + 2 * error.square().mean()


@torch.no_grad()
def validate(vq: VQModel) -> dict[str, float]:
    """Mean PSNR (dB) over 512 validation faces, encoded, quantised and decoded, and how many codes they use."""
    images = render(toyfaces.ids("validation")[:512])
    codebook, z = vq.quantize.embedding.weight, encode(vq, images).to(DEVICE)
    decoded = [vq.decode(quantise(codebook, part), force_not_quantize=True).sample.cpu() for part in z.split(256)]
    mse = (torch.cat(decoded).clamp(-1, 1) - as_image(images)).square().mean(dim=(1, 2, 3)) / 4
    codes = nearest_code(codebook, z.permute(0, 2, 3, 1).reshape(-1, 3))
    facts = {"validation_psnr": round((-10 * torch.log10(mse)).mean().item(), 3), "codes_used": codes.unique().numel()}
    print(f"\nvalidation: {facts}")
    return facts


@torch.no_grad()
def encode(vq: VQModel, images: Tensor) -> Tensor:
    """Latents before quantisation of uint8 images, on the CPU."""
    training = vq.training
    vq.eval()
    latents = torch.cat([vq.encode(as_image(block).to(vq.device)).latents.cpu() for block in images.split(256)])
    vq.train(training)
    return latents


def as_image(uint8: Tensor) -> Tensor:
    """uint8 [0,255] to float [-1,1]."""
    return uint8.float() / 127.5 - 1


def train_latent(images: Tensor, out: Path, options: argparse.Namespace) -> None:
    """Noise prediction on scaled latents before quantisation, LDM's schedule."""
    vq, scale = priors.autoencoder()
    latents = encode(nn.Module.to(vq, DEVICE), images) * scale
    train_denoiser(priors.new_latent_unet(), latents, schedule.scaled_linear(), 0, out, options)


def train_pixel(images: Tensor, out: Path, options: argparse.Namespace) -> None:
    """Prediction of v on pixels, which gives the noise, DDPM's linear schedule, fixed variance."""
    train_denoiser(priors.PixelUNet(), images, schedule.linear(), 1, out, options)


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
        z_t = (a.sqrt() * z + (1 - a).sqrt() * eps).to(DEVICE, memory_format=torch.channels_last)
        predicted = module(z_t, t.to(DEVICE))
        predicted = predicted if isinstance(predicted, Tensor) else predicted.sample
        error = (predicted.float() - eps.to(DEVICE)).square().mean(dim=(1, 2, 3))
        return (weight[t].to(error) * error).mean()

    for part in module.modules():  # a CPU is slow at group norms in bfloat16, and at attention that is not one call
        if isinstance(part, nn.GroupNorm):
            part.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(),))
        if isinstance(part, Attention):
            part.set_processor(AttnProcessor())
    if options.start:
        load(module, options.start).requires_grad_(True)
    ema = fit(module, loss, out=out, steps=options.steps, lr=options.lr, seed=options.seed, bfloat16=True)
    ship(ema, out, dtype=torch.float16, seed=options.seed, **options.earlier)


def train_features(images: Tensor, out: Path, options: argparse.Namespace) -> None:
    """Mean cross-entropy of all attributes at once; the features are then put on a standard scale."""
    answers = labels_of(toyfaces.ids("train")[: len(images)])

    def loss(module: nn.Module, generator: torch.Generator, step: int) -> Tensor:
        rows = torch.randint(len(images), (options.batch_size,), generator=generator)
        x = augment(unit_range(images[rows]), generator)
        logits = module(x.to(DEVICE, memory_format=torch.channels_last))
        return cross_entropy(logits, answers[rows].to(DEVICE))

    module = FeatureNetwork(toyfaces.LABELS)
    ema = fit(module, loss, out=out, steps=options.steps, lr=options.lr, seed=options.seed, ema_decay=0.99).cpu()
    standardise(ema, images[:2048])
    accuracy = validation_accuracy(ema, toyfaces.ids("validation")[: min(1024, len(images))])
    print("validation accuracy: " + ", ".join(f"{name} {value:.3f}" for name, value in accuracy.items()))
    ship(ema, out, dtype=torch.float32, seed=options.seed, labels=dict(toyfaces.LABELS), validation_accuracy=accuracy)


def labels_of(image_ids: Sequence[str]) -> Tensor:
    """Labels (n, labels), long, in the order of `toyfaces.LABELS`."""
    return torch.from_numpy(np.stack([toyfaces.labels(image_id) for image_id in image_ids])).long()


def cross_entropy(logits: dict[str, Tensor], answers: Tensor) -> Tensor:
    """Mean cross-entropy over the labels, in units of guessing's: no label rules by its many classes."""
    pairs = zip(logits.values(), answers.unbind(1), strict=True)
    losses = [F.cross_entropy(logit.float(), answer) / math.log(logit.shape[1]) for logit, answer in pairs]
    return torch.stack(losses).mean()


def augment(x: Tensor, generator: torch.Generator) -> Tensor:
    """Images (B, 3, H, W) in [0, 1]: shifted by up to 2 px, a third blurred (std to 1.2 px), half noisy (to 0.08); not
    mirrored, since some labels know left from right."""
    size = x.shape[-1]
    padded = F.pad(x, (SHIFT,) * 4, mode="replicate")
    corners = torch.randint(2 * SHIFT + 1, (len(x), 2), generator=generator).tolist()
    pairs = zip(padded, corners, strict=True)
    x = torch.stack([image[:, top : top + size, left : left + size] for image, (top, left) in pairs])
    few = len(x) // 3
    x[:few] = gaussian_blur(x[:few], [7, 7], [0.3 + 0.9 * float(torch.rand((), generator=generator))])
    std = (torch.rand(len(x), generator=generator) - 0.5).clamp(min=0) * 0.16
    order = torch.randperm(len(x), generator=generator)  # so that noise falls on blurred and sharp images alike
    return (x + std[order].reshape(-1, 1, 1, 1) * torch.randn(x.shape, generator=generator)).clamp(0, 1)


@torch.no_grad()
def standardise(module: FeatureNetwork, images: Tensor) -> None:
    """Shift and scale the features, in place, to mean 0 and variance 1 on average over these uint8 images.

    FID and KID have the units of the features, which training leaves to chance. One factor for all dimensions keeps the
    features' geometry, and the heads take the change back: the logits stay what they were.
    """
    features = torch.cat([module.features(unit_range(batch)) for batch in images.split(64)])
    mean, scale = features.mean(0), features.var(0).mean().sqrt()
    for head in module.heads.values():
        assert isinstance(head, nn.Linear)
        head.bias.add_(head.weight @ mean)
        head.weight.mul_(scale)
    module.bottleneck.bias.sub_(mean).div_(scale)
    module.bottleneck.weight.div_(scale)


@torch.no_grad()
def validation_accuracy(module: nn.Module, image_ids: Sequence[str]) -> dict[str, float]:
    """The share of unaltered faces whose label is named rightly, for every label."""
    batches = [module(unit_range(batch)) for batch in render(image_ids).split(64)]
    chosen = torch.stack([torch.cat([batch[name].argmax(1) for batch in batches]) for name in toyfaces.LABELS], dim=1)
    right = (chosen == labels_of(image_ids)).float().mean(dim=0)
    return {name: round(share, 4) for name, share in zip(toyfaces.LABELS, right.tolist(), strict=True)}


TRAINERS = {
    "autoencoder": (train_autoencoder, AUTOENCODER),
    "decoder": (train_decoder, AUTOENCODER),
    "latent": (train_latent, ASSETS / "toyfaces_latent.safetensors"),
    "pixel": (train_pixel, ASSETS / "toyfaces_pixel.safetensors"),
    "features": (train_features, WEIGHTS),
}

if __name__ == "__main__":
    sys.exit(main())
