"""Training of the toyfaces feature network: `python -m ldsmc_bench.scoring.train`, minutes on one CPU core.

The network names a face's attributes, all at once, in slightly shifted, blurred or noisy pictures, so that its
features tell faces apart by what they show. Not mirrored ones: some labels know left from right. Started again, it
goes on where it stopped.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ldsmc_bench.prior.training import device, fit, render, ship
from ldsmc_bench.problem import toyfaces
from ldsmc_bench.scoring.features import WEIGHTS, FeatureNetwork, unit_range

SHIFT = 2  # pixels


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ldsmc_bench.scoring.train", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=WEIGHTS, help="where the weights go (default: the package's assets)"
    )
    parser.add_argument("--steps", type=int, default=3000, help="optimisation steps")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faces", type=int, default=20000, help="training faces to draw")
    options = parser.parse_args()

    image_ids = toyfaces.ids("train")[: options.faces]
    images, answers = render(image_ids), labels_of(image_ids)
    module = initialised(FeatureNetwork(toyfaces.LABELS), options.seed)

    def loss(module: nn.Module, generator: torch.Generator, step: int) -> Tensor:
        rows = torch.randint(len(images), (options.batch_size,), generator=generator)
        x = augmented(unit_range(images[rows]), generator)
        logits = module(x.to(device(), memory_format=torch.channels_last))
        return cross_entropy(logits, answers[rows].to(device()))

    ema = fit(module, loss, out=options.out, steps=options.steps, lr=options.lr, seed=options.seed, ema_decay=0.99)
    assert isinstance(ema, FeatureNetwork)
    standardise(ema.cpu(), images[:2048])
    accuracy = validation_accuracy(ema, toyfaces.ids("validation")[: min(1024, options.faces)])
    print("validation accuracy: " + ", ".join(f"{name} {value:.3f}" for name, value in accuracy.items()))
    facts = {"seed": options.seed, "labels": dict(toyfaces.LABELS), "validation_accuracy": accuracy}
    ship(ema, options.out, dtype=torch.float32, **facts)


def labels_of(image_ids: Sequence[str]) -> Tensor:
    """Labels (n, labels), long, in the order of `toyfaces.LABELS`."""
    return torch.from_numpy(np.stack([toyfaces.labels(image_id) for image_id in image_ids])).long()


def cross_entropy(logits: dict[str, Tensor], answers: Tensor) -> Tensor:
    """Mean cross-entropy over the labels, in units of guessing's: no label rules by its many classes."""
    pairs = zip(logits.values(), answers.unbind(1), strict=True)
    losses = [F.cross_entropy(logit.float(), answer) / math.log(logit.shape[1]) for logit, answer in pairs]
    return torch.stack(losses).mean()


def augmented(x: Tensor, generator: torch.Generator) -> Tensor:
    """Images (B, 3, H, W) in [0, 1]: shifted by up to 2 px, a third blurred (std to 1.2 px), half noisy (to 0.08)."""
    size = x.shape[-1]
    padded = F.pad(x, (SHIFT,) * 4, mode="replicate")
    corners = torch.randint(2 * SHIFT + 1, (len(x), 2), generator=generator).tolist()
    pairs = zip(padded, corners, strict=True)
    x = torch.stack([image[:, top : top + size, left : left + size] for image, (top, left) in pairs])
    few = len(x) // 3
    x[:few] = blurred(x[:few], 0.3 + 0.9 * float(torch.rand((), generator=generator)))
    std = (torch.rand(len(x), generator=generator) - 0.5).clamp(min=0) * 0.16
    order = torch.randperm(len(x), generator=generator)  # so that noise falls on blurred and sharp images alike
    return (x + std[order].reshape(-1, 1, 1, 1) * torch.randn(x.shape, generator=generator)).clamp(0, 1)


def blurred(x: Tensor, std: float) -> Tensor:
    """Gaussian blur of images (B, 3, H, W), edges replicated; `std` in pixels."""
    taps = torch.exp(-0.5 * (torch.arange(-3, 4) / std) ** 2)
    kernel = (taps / taps.sum()).repeat(3, 1, 1, 1)
    x = F.conv2d(F.pad(x, (3, 3, 0, 0), mode="replicate"), kernel, groups=3)
    return F.conv2d(F.pad(x, (0, 0, 3, 3), mode="replicate"), kernel.transpose(2, 3), groups=3)


def initialised(module: FeatureNetwork, seed: int) -> FeatureNetwork:
    """Weights drawn anew from `seed` (He et al. 2015), biases zero, normalisation as it was."""
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight, generator=generator)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    return module


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
    answers = labels_of(image_ids)
    return {
        name: round(float((torch.cat([batch[name] for batch in batches]).argmax(1) == answers[:, i]).float().mean()), 4)
        for i, name in enumerate(toyfaces.LABELS)
    }


if __name__ == "__main__":
    main()
