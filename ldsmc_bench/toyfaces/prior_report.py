"""Compare the prior's faces with the data set's (`python -m ldsmc_bench prior-report out=sheet.png`).

A sheet of 64 unconditional samples beside 64 test faces, and the Fréchet distance between samples and test faces next
to the one between two disjoint sets of test faces, in the feature space of the toyfaces network.
"""

import json
import sys
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid
from tqdm import tqdm

from ldsmc_bench import toyfaces
from ldsmc_bench.cli import Options, entry
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.interface import Prior
from ldsmc_bench.problem.problem import to_uint8
from ldsmc_bench.sampling.chain import paper_chain
from ldsmc_bench.sampling.guidance import look_ahead
from ldsmc_bench.scoring.distances import frechet_distance, moments
from ldsmc_bench.toyfaces import priors
from ldsmc_bench.toyfaces.features import features_of, load_features
from ldsmc_bench.toyfaces.training import render


@torch.no_grad()
def sample_prior(prior: Prior, noise: Noise, steps: int) -> Tensor:
    """Ancestral samples of the prior, one for each image of `noise`: (B,3,H,W), about [-1,1]."""
    z = noise.normal("prior", prior.shape)
    for _, row in sorted(paper_chain(prior.alpha_bar, steps, eta=1.0).rows.items(), reverse=True):
        z_0 = look_ahead(prior, z, row, gradient=False).z0_hat
        z = row.mean(z, z_0) + row.sigma * noise.normal("prior", prior.shape)
    return prior.decode(z)


@entry
def main() -> None:
    parser = Options("prior-report", __doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--prior", choices=("latent", "pixel"), default="latent")
    parser.add_argument("--faces", type=int, default=512, help="samples, and test faces in each of the two sets")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.read()
    prior = getattr(priors, options.prior)().to(torch.device("cpu"), torch.float32)
    names = [f"sample-{i:06d}" for i in range(options.faces)]
    batches = [names[i : i + 64] for i in range(0, options.faces, 64)]
    x = torch.cat([sample_prior(prior, Noise(options.seed, batch, "prior"), options.steps) for batch in tqdm(batches)])
    samples = to_uint8(x)
    faces, others = render(toyfaces.ids("test")[: 2 * options.faces]).split(options.faces)

    network = load_features()
    of_samples, of_faces, of_others = (moments(features_of(network, images)) for images in (samples, faces, others))
    left, right = (make_grid(images[:64], nrow=8, padding=0) for images in (samples, faces))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    to_pil_image(torch.cat([left, torch.full_like(left[..., :16], 255), right], dim=2)).save(options.out)
    numbers = {
        "faces": options.faces,
        "steps": options.steps,
        "toyfaces_fid samples - test faces": round(frechet_distance(*of_samples, *of_faces), 2),
        "toyfaces_fid test faces - other test faces": round(frechet_distance(*of_others, *of_faces), 2),
    }
    print(json.dumps(numbers, indent=2))
    print(f"sheet (left: samples, right: test faces): {options.out}")


if __name__ == "__main__":
    sys.exit(main())
