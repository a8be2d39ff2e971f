"""`python -m ldsmc_bench film method=ldsmc task=box particles=5 image=3`: the reverse process of one image.

Takes the keys of a run, and restores one image as that run does, on the same measurement with the same random numbers.
A GIF shows the clean image that each particle is heading for, D(z0_hat), step by step; of a method with particles,
genealogy.pdf and .png show which of them descend from which. Nothing is added to the run's results.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from matplotlib import rc_context
from torch import Tensor
from tqdm import tqdm

from ldsmc_bench.cli import Options, entry
from ldsmc_bench.commands.messages import explaining, own_files
from ldsmc_bench.config import Settings, compose, instantiate, problem_of, validate
from ldsmc_bench.errors import UserError, nearest
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.compiled import to_device_and_compile
from ldsmc_bench.prior.interface import Prior, PriorWrapper
from ldsmc_bench.prior.schedule import alpha_bar_at
from ldsmc_bench.problem.datasets import Dataset
from ldsmc_bench.problem.draws import Draw
from ldsmc_bench.problem.problem import load_batch, measurement_pictures, to_uint8
from ldsmc_bench.report.figures import genealogy, plot
from ldsmc_bench.report.figures.genealogy import Move, Tape
from ldsmc_bench.running.call import call_sampler
from ldsmc_bench.running.prediction_error import calibrated, calibration_due
from ldsmc_bench.running.progress import Progress
from ldsmc_bench.sampling.resampling import draw_one, normalize
from ldsmc_bench.sampling.trace import Trace
from ldsmc_bench.text import printable

Call = tuple[Tensor, Tensor, Tensor]  # latents (R,C,h,w), their steps (R,), the noise that the network predicts


@dataclass(frozen=True)
class WatchedPrior(PriorWrapper):
    """Looks like `prior` to a sampler; `seen` has the latest call of the denoiser for each number of rows."""

    seen: dict[int, Call] = field(default_factory=dict)

    def eps(self, z: Tensor, t: Tensor) -> Tensor:
        found: Tensor = self.prior.eps(z, t)
        self.seen[len(z)] = z.detach(), t.detach(), found.detach()
        return found

    def eps_and_variance(self, z: Tensor, t: Tensor) -> tuple[Tensor, Tensor | None]:
        found, variance = self.prior.eps_and_variance(z, t)
        self.seen[len(z)] = z.detach(), t.detach(), found.detach()
        return found, variance


class WatchedNoise(Noise):
    """Remembers the latest ancestors that were drawn, and the number that the answer was drawn by."""

    drawn: Tensor | None = None
    choice: Tensor | None = None

    def ancestors(self, weights: Tensor, scheme: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        self.drawn = super().ancestors(weights, scheme)
        return self.drawn

    def uniform(self, name: str, shape: Sequence[int]) -> Tensor:
        found = super().uniform(name, shape)
        if name == "choice":
            self.choice = found
        return found


class Recorder(Trace):
    """Records a move at each step of a sampler of N particles, and the denoiser's call for all of them. Of several
    sweeps the last is kept."""

    def __init__(self, n: int, prior: WatchedPrior, noise: WatchedNoise, tick: Callable[[], object]) -> None:
        super().__init__(keep=())
        self.n, self.prior, self.noise, self.advance = n, prior, noise, tick
        self.moves: list[Move] = []
        self.calls: list[Call] = []
        self.last: int | None = None

    def __call__(self, step: int, **values: Tensor) -> None:
        self.advance()
        if self.last is not None and step >= self.last:
            self.moves, self.calls = [], []
        before, self.last = len(self.moves[-1].weights) if self.moves else self.n, step
        now = len(values["z"]) if "z" in values else before
        log_weights, due = values.get("log_weights"), values.get("resampled")
        parents, resampled = np.arange(now), False
        if now < before and log_weights is not None:  # the heaviest live on
            parents, resampled = log_weights[0].topk(now).indices.cpu().numpy(), True
        elif self.noise.drawn is not None and (due is None or bool(due[0])):
            parents, resampled = self.noise.drawn[0].cpu().numpy(), True
        known = log_weights is not None and log_weights.shape[1] == now
        weights = torch.softmax(log_weights[0].double().cpu() if known else torch.zeros(now), 0)  # type: ignore[index]
        call = self.prior.seen.get(now, self.calls[-1] if self.calls else None)
        self.moves.append(Move(parents, weights.numpy(), resampled, None if call is None else int(call[1][0])))
        self.calls += [call] if call is not None else []
        self.prior.seen.clear()
        self.noise.drawn = None

    def chosen(self, misfits: np.ndarray) -> int:
        """The particle that the answer is made of: drawn, or the heaviest, of equally heavy ones that of the least
        misfit (N,)."""
        weights = self.moves[-1].weights
        if self.noise.choice is not None:
            return int(draw_one(normalize(torch.from_numpy(weights).log()[None]), self.noise.choice[:1].cpu()))
        return int(np.where(weights > weights.max() - 1e-9, misfits, np.inf).argmin())


def record(settings: Settings, image: str, frames: int) -> Tape:
    """Restore one image, named by id or by its place in the data set, and return all that is shown of it, with pictures
    of so many moves at most.

    Raises UserError for an image that is not there, and for data sets whose trials make no pictures.
    """
    if settings.config["dataset"].get("trial"):
        raise UserError(f"dataset={settings.config['dataset']['name']}: has no pictures; choose one of images")
    dataset, prior = (instantiate(settings.config[part]["load"]) for part in ("dataset", "prior"))
    draw, problem = Draw(find_image(dataset, image)), problem_of(settings, dataset)
    prior = to_device_and_compile(prior, settings.device, settings.network_dtype, settings.compile)
    if calibration_due(settings, prior):
        prior = calibrated(settings, problem, prior)
    batch = load_batch(problem, [draw], prior.image_size)
    if batch.measurement is None:
        raise UserError(batch.unreadable[draw])
    n, labels = settings.labels.particles, settings.labels
    watched = WatchedPrior(prior.conditioned(batch.labels))
    noise = WatchedNoise(
        settings.seed, [draw.trial_id], f"sampler/{labels.dataset}/{labels.task}", device=settings.device
    )
    progress = Progress(settings)
    sample, shape = instantiate(settings.config["method"]["sample"]), batch.truths.shape
    with tqdm(total=progress.steps, unit=" steps", desc=labels.method, disable=None) as bar:
        trace = Recorder(n, watched, noise, bar.update)
        x, _ = call_sampler(sample, watched, batch.measurement, noise, trace, settings, shape, progress)
    if not trace.moves:
        raise UserError(f"method={labels.method}: reports no step (trace(k)), so there is no film of it")
    measured, truth, result = map(
        channels_last, (measurement_pictures(batch.measurement)[0], batch.truths[0], to_uint8(x)[0])
    )
    last = len(trace.moves) - 1
    wanted = sorted({round(k * last / (frames - 1)) for k in range(frames)})  # of calls, the first moves may lack some
    pictures = {k: predicted(prior, *trace.calls[k - last - 1]) for k in wanted if last - k < len(trace.calls)}
    pictures = pictures or {last: result[None]}
    misfits = ((pictures[last].astype(float) - result) ** 2).mean(axis=(1, 2, 3))
    return Tape(draw.image_id, labels, trace.moves, pictures, measured, truth, result, trace.chosen(misfits))


def find_image(dataset: Dataset, image: str) -> str:
    """The id of an image named by id or by its place, from 0."""
    if image in dataset.ids:
        return image
    if image.isdecimal() and int(image) < len(dataset.ids):
        return dataset.ids[int(image)]
    hint = nearest(image, dataset.ids[:50])
    raise UserError(f"image={image}: dataset={dataset.name} has no such image; 0 to {len(dataset.ids) - 1}, or {hint}")


@torch.no_grad()
def predicted(prior: Prior, z: Tensor, t: Tensor, eps: Tensor) -> np.ndarray:
    """The clean images that latents (N,C,h,w) at step t are heading for: uint8 (N,S,S,3)."""
    a = alpha_bar_at(prior.alpha_bar, t.cpu()).to(z).reshape(-1, 1, 1, 1)  # t may lie between two steps
    x = prior.decode((z - (1 - a).sqrt() * eps) / a.sqrt())
    return channels_last(to_uint8(x.float().nan_to_num()))


def channels_last(pictures: Tensor) -> np.ndarray:
    """(…,3,S,S) to (…,S,S,3)."""
    return np.ascontiguousarray(pictures.movedim(-3, -1).cpu().numpy())


@entry
def main(arguments: Sequence[str] | None = None) -> int:
    """Record, draw and print the paths; the exit code is 0, or 2 with one line that names the mistake."""
    parser = Options("film", __doc__, results_dir=True)
    parser.add_argument(
        "settings", nargs="*", metavar="KEY=VALUE", help="of a run, as method=ldsmc task=box particles=5"
    )
    parser.add_argument("--image", default="0", metavar="ID", help="an id, or a place from 0 (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=30, help="of the film at most (default: %(default)s)")
    parser.add_argument("--config-dir", type=Path, metavar="FOLDER", help="of methods and tasks of your own")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="(default: R/figures)")
    options = parser.read(arguments)
    if not 2 <= options.frames <= 1000:
        raise UserError(f"frames={options.frames}: must be from 2 to 1000")
    overrides = [*options.settings, *own_files(options.config_dir)]
    with explaining(overrides):
        settings = validate(compose(*overrides))
    tape = record(settings, options.image, options.frames)
    folder = options.out or Path(options.results_dir) / "figures"
    print(printable(f"film: {genealogy.save_film(tape, folder)}"))
    if len(tape.moves[0].weights) > 1:
        with rc_context(plot.look()):
            print(printable(f"genealogy: {plot.save(genealogy.draw(tape), folder, f'genealogy-{tape.name}')}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
