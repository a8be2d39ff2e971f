"""`python -m ldsmc_bench.report.prior --out sheet.png`: does the embedded prior draw faces like the data set's?

A sheet of 64 unconditional samples beside 64 test faces, and the Fréchet distance between samples and test faces next
to the one between two disjoint sets of test faces, in the feature space of the toyfaces network.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ldsmc_bench.noise import Noise
from ldsmc_bench.prior import latent
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem import toyfaces
from ldsmc_bench.sampling.chain import paper_chain
from ldsmc_bench.sampling.guidance import look_ahead
from ldsmc_bench.scoring.features import features_of, load_features
from ldsmc_bench.scoring.frechet import frechet_distance, moments

GRID = 8


def unconditional(prior: Prior, noise: Noise, steps: int) -> Tensor:
    """Ancestral samples of the prior, one for each image of `noise`: (B,3,H,W), about [-1,1]."""
    chain = paper_chain(prior.alpha_bar, steps, eta=1.0)
    z = noise.normal("prior", prior.shape)
    for k in reversed(range(1, steps + 1)):
        move = look_ahead(prior, z, chain.rows[k], gradient=False)
        z = move.mean + move.sigma * noise.normal("prior", prior.shape)
    with torch.no_grad():
        return prior.decode(z)


def drawn(image_ids: list[str]) -> Tensor:
    """Faces of the data set, uint8 (n,3,64,64)."""
    return torch.from_numpy(np.stack([toyfaces.array(image_id) for image_id in image_ids])).permute(0, 3, 1, 2)


def grid(images: Tensor) -> np.ndarray:
    """The first 64 images as one picture, uint8."""
    rows = images[: GRID * GRID].reshape(GRID, GRID, 3, *images.shape[2:])
    return rows.permute(0, 3, 1, 4, 2).reshape(GRID * images.shape[2], GRID * images.shape[3], 3).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ldsmc_bench.report.prior", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--faces", type=int, default=512, help="samples, and test faces in each of the two sets")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    prior = latent.toyfaces().to(torch.device("cpu"), torch.float32)
    names = [f"sample-{i:06d}" for i in range(options.faces)]
    batches = [names[i : i + 64] for i in range(0, options.faces, 64)]
    x = torch.cat([unconditional(prior, Noise(options.seed, batch, "prior"), options.steps) for batch in tqdm(batches)])
    samples = ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    test = toyfaces.ids("test")
    faces, others = (drawn(list(test[i * options.faces : (i + 1) * options.faces])) for i in (0, 1))

    network = load_features()
    of_samples, of_faces, of_others = (moments(features_of(network, images)) for images in (samples, faces, others))
    gap = np.full((GRID * 64, 16, 3), 255, np.uint8)
    sheet = Image.fromarray(np.concatenate([grid(samples), gap, grid(faces)], axis=1))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(options.out)
    numbers = {
        "faces": options.faces,
        "steps": options.steps,
        "toyfaces_fid samples - test faces": round(frechet_distance(*of_samples, *of_faces), 2),
        "toyfaces_fid test faces - other test faces": round(frechet_distance(*of_others, *of_faces), 2),
    }
    print(json.dumps(numbers, indent=2))
    print(f"sheet (left: samples, right: test faces): {options.out}")


if __name__ == "__main__":
    main()
