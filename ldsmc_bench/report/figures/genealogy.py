"""The reverse process of one image: its particles' family tree, and a film of what each particle is heading for."""

import io
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ldsmc_bench.files import write_file
from ldsmc_bench.records.record import RunLabels
from ldsmc_bench.report.figures.plot import add_legend, figure_text
from ldsmc_bench.report.select import display_name

ACROSS, MOST = 5, 20  # particles in a row of the film, and in all
SIDE = 128  # pixels of a picture in the film, at least
MARGIN, LINE, BAR = 8, 16, 5  # pixels
INK, PAPER, PALE, CHOSEN = (20, 20, 20), (255, 255, 255), (225, 225, 225), (213, 94, 0)
LINES: Any = {"dies out": ("0.8", 0.6), "reaches the end": ("0.25", 1), "leads to the result": ("#D55E00", 2)}
HOLD = 12  # frames' time that the last one stays
MILLISECONDS = 150  # of a frame
Picture = NDArray[np.uint8]


class Move(NamedTuple):
    """A move to N particles: the parent of each (N,) among those before, the weights (N,) that the sampler reports with
    it, whether parents were drawn, and the training step of the prediction, if there is one."""

    parents: NDArray[np.int64]
    weights: NDArray[np.float64]
    resampled: bool
    t: int | None


class Tape(NamedTuple):
    """A recorded image: its moves in their order, the predictions (N,S,S,3) after some of them, the last included (the
    result, where the prior was never asked for all particles at once), what is known of it, uint8 (S,S,3), and the
    particle that was chosen."""

    image_id: str
    labels: RunLabels
    moves: list[Move]
    predictions: dict[int, Picture]
    measurement: Picture
    truth: Picture
    result: Picture
    chosen: int

    @property
    def name(self) -> str:
        """Of its files."""
        one = self.labels
        variant = "" if one.variant == "default" else f"-{one.variant}"
        return f"{one.task}-{one.dataset}-{one.method}{variant}-N{one.particles}-{one.steps}steps-{self.image_id}"

    @property
    def title(self) -> str:
        one = self.labels
        variant = "" if one.variant == "default" else f" {one.variant}"
        return f"{display_name('method', one.method)}{variant}, {display_name('task', one.task)}, {self.image_id}"


def lineages(moves: list[Move]) -> list[NDArray[np.int64]]:
    """For each move, and before it the start, which particle each of the last ones descends from: (N,) each."""
    found = [np.arange(len(moves[-1].parents))]
    for move in reversed(moves):
        found.append(move.parents[found[-1]])
    return found[::-1]


def draw(tape: Tape) -> Figure:
    """The family tree: a line from each particle to its parent, and marks as large as weights. Below, ESS / N and the
    share of particles with descendants."""
    moves, trails, steps = tape.moves, lineages(tape.moves), len(tape.moves)
    n, size = max(len(move.weights) for move in moves), min(1.0, 50 / steps)
    thin = max(0.4, size)
    figure = Figure(figsize=(6.9, min(6.0, 2.2 + 0.18 * n)), layout="constrained")
    tree, below = figure.subplots(2, 1, sharex=True, height_ratios=(2.5, 1))
    lines: dict[str, list[Any]] = {kind: [] for kind in LINES}
    for k, move in enumerate(moves):
        alive, ours = set(trails[k + 1].tolist()), trails[k + 1][tape.chosen]
        for child, parent in enumerate(move.parents):
            kind = "leads to the result" if child == ours else "reaches the end" if child in alive else "dies out"
            lines[kind].append([(k, parent), (k + 1, child)])
    bars = [k + 0.5 for k, move in enumerate(moves) if move.resampled]
    tree.vlines(bars, -0.5, n - 0.5, color="0.9", linewidth=3 * size, zorder=0, label="resampling")
    for order, (kind, (tint, wide)) in enumerate(LINES.items(), 1):
        tree.add_collection(LineCollection(lines[kind], colors=tint, linewidths=wide * thin, label=kind, zorder=order))
    marks = [(k, i, 40 * size * w) for k, move in enumerate(moves, 1) for i, w in enumerate(move.weights)]
    tree.scatter(*zip(*marks, strict=True), color="#0072B2", zorder=4, linewidth=0, label="weight (area)")
    tree.set(ylabel="particle number", ylim=(n - 0.5, -0.5), title=figure_text(tape.title))
    tree.grid(visible=False)
    places, ess = range(1, steps + 1), [1 / (move.weights**2).sum() / len(move.weights) for move in moves]
    below.plot(places, ess, color="#0072B2", label="ESS / N")
    sizes = [n, *(len(move.weights) for move in moves)]
    shares = [len(set(trail.tolist())) / size for trail, size in zip(trails, sizes, strict=True)]
    below.plot(range(len(trails)), shares, color="0.25", dashes=(4, 1.5), label="with descendants at the end")
    below.set(xlabel=f"step (0: noise, {steps}: image)", ylabel="share of N", ylim=(-0.05, 1.05))
    below.set_xlim(-0.02 * steps, 1.02 * steps)
    for axis in (tree.yaxis, below.xaxis):
        axis.set_major_locator(MaxNLocator(integer=True, steps=(1, 2, 5, 10)))
    add_legend(figure)
    return figure


def save_film(tape: Tape, folder: Path) -> Path:
    """Write the GIF, a frame for each prediction and one of the result; returns its path. Raises UserError where it
    cannot be written."""
    pictures = [frame(tape, k) for k in [*sorted(tape.predictions), len(tape.moves)]]
    palette = [one.quantize(256, dither=Image.Dither.NONE) for one in pictures]
    file, times = io.BytesIO(), [MILLISECONDS] * (len(palette) - 1) + [HOLD * MILLISECONDS]
    palette[0].save(file, "GIF", save_all=True, append_images=palette[1:], duration=times, loop=0, optimize=False)
    write_file(path := folder / f"film-{tape.name}.gif", file.getvalue())
    return path


def frame(tape: Tape, k: int) -> Image.Image:
    """The picture after move `k`: measurement and truth, and below what each particle is heading for, over a bar as
    long as its weight. Past the last move the result too, and the chosen particle framed."""
    last, k = k >= len(tape.moves), min(k, len(tape.moves) - 1)
    shown, move = tape.predictions[k][:MOST], tape.moves[k]
    most = min(MOST, max(map(len, tape.predictions.values())))
    scale = max(1, math.ceil(SIDE / tape.truth.shape[0]))
    side = scale * tape.truth.shape[0]
    across = max(3, min(ACROSS, most))
    down = -(-most // across)
    high = side + LINE + MARGIN
    size = MARGIN + across * (side + MARGIN), 2 * LINE + MARGIN + high + down * (side + BAR + MARGIN)
    canvas = Image.new("RGB", size, PAPER)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=13)

    def paste(picture: Picture, left: int, top: int) -> None:
        canvas.paste(Image.fromarray(picture).resize((side, side), Image.Resampling.NEAREST), (left, top))

    pen.text((MARGIN, 4), tape.title, INK, font)
    n = len(move.weights)
    state = "the result" if last else f"step {k + 1} of {len(tape.moves)}{'' if move.t is None else f', t = {move.t}'}"
    state += f", N = {n}, ESS {1 / (move.weights**2).sum():.1f}" if n > 1 else ""
    state += f", the first {MOST} shown" if n > MOST else ""
    pen.text((MARGIN, 4 + LINE), state, INK, font)
    for j, (name, picture) in enumerate(
        {"measurement": tape.measurement, "truth": tape.truth, "result": tape.result}.items()
    ):
        left, top = MARGIN + j * (side + MARGIN), 2 * LINE + MARGIN
        pen.text((left, top), name if name != "result" or last else "", INK, font)
        if name != "result" or last:
            paste(picture, left, top + LINE)
    for i, picture in enumerate(shown):
        left = MARGIN + i % across * (side + MARGIN)
        top = 2 * LINE + MARGIN + high + i // across * (side + BAR + MARGIN)
        paste(picture, left, top)
        if last and i == tape.chosen and n > 1:
            pen.rectangle((left, top, left + side - 1, top + side - 1), outline=CHOSEN, width=3)
        if n > 1:
            pen.rectangle((left, top + side + 1, left + side - 1, top + side + BAR), PALE)
            pen.rectangle((left, top + side + 1, left + round((side - 1) * move.weights[i]), top + side + BAR), INK)
    return canvas
