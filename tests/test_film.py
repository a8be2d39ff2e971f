"""The film of one image: it is that of the run, and its family tree is the particles' own."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from PIL import Image
from torch import Tensor

import ldsmc_bench as lb
from ldsmc_bench.commands import film
from ldsmc_bench.commands.film import Recorder, WatchedNoise, WatchedPrior, channels_last, record
from ldsmc_bench.config import compose, validate
from ldsmc_bench.records.record import RunLabels
from ldsmc_bench.report.figures import genealogy
from ldsmc_bench.report.figures.genealogy import Move, Tape, lineages
from ldsmc_bench.sampling.resampling import multinomial

RUN = {"task": "box", "particles": 3, "steps": 4, "method__sample__latent_fit_iterations": 2}
RED, BLUE = (200, 0, 0), (0, 0, 200)


@pytest.fixture(scope="module")
def tape() -> Tape:
    overrides = [f"{key.replace('__', '.')}={value}" for key, value in RUN.items()]
    return record(validate(compose("method=ldsmc", *overrides)), "0", 30)


def test_the_result_is_that_of_the_run(tape: Tape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    [run] = lb.run("ldsmc", **RUN, n_images=1, results_dir=str(tmp_path)).itertuples()
    kept = np.asarray(Image.open(tmp_path / "runs" / run.run_id / "images" / f"{run.image_id}.png"))
    np.testing.assert_array_equal(tape.result, kept)
    ess = [1 / (move.weights**2).sum() for move in tape.moves]
    assert np.mean(ess) == pytest.approx(lb.load_results(tmp_path)["diagnostics.ess"][0])


def test_each_step_has_a_prediction_of_each_particle_nearer_to_the_end(tape: Tape) -> None:
    assert sorted(tape.predictions) == [0, 1, 2, 3] and tape.predictions[0].shape == (3, 64, 64, 3)
    steps = [move.t for move in tape.moves]
    assert steps == sorted(steps, reverse=True)
    far = [np.square(tape.predictions[k][tape.chosen] - tape.result.astype(float)).mean() for k in (0, 3)]
    assert far[1] < far[0]


def test_a_method_may_ask_between_two_training_steps() -> None:
    tape = record(validate(compose("method=daps", "task=box", "steps=2", "prior=ldm_toyfaces")), "0", 30)
    assert tape.predictions and all(picture.shape[1:] == (64, 64, 3) for picture in tape.predictions.values())


class Named:
    """Particles that carry the names of all their ancestors, resampled by the noise as samplers are."""

    def __init__(self, n: int, moves: int, due: Iterator[bool]) -> None:
        self.noise = WatchedNoise(0, ["a"], "test")
        self.trace = Recorder(n, WatchedPrior(None), self.noise, lambda: None)
        self.names = [(i,) for i in range(n)]
        for k in reversed(range(moves)):
            weights = torch.softmax(2 * self.noise.normal("weights", (n,)).double(), 1)
            drawn, chosen = self.noise.ancestors(weights, multinomial)[0].tolist(), next(due)
            parents = drawn if chosen else range(n)
            self.names = [(*self.names[parent], child) for child, parent in enumerate(parents)]
            self.trace(k, resampled=torch.tensor([chosen]), log_weights=weights.log())


def test_lineages_are_those_that_the_particles_carry() -> None:
    for _ in range(2):
        named = Named(5, 6, iter([True, False, True, True, False, True]))
        trails = lineages(named.trace.moves)
        assert list(zip(*(trail.tolist() for trail in trails), strict=True)) == named.names
        assert [move.resampled for move in named.trace.moves] == [True, False, True, True, False, True]


def test_of_several_sweeps_the_last_is_shown_and_dropped_particles_are_the_light_ones() -> None:
    trace = Recorder(3, WatchedPrior(None), WatchedNoise(0, ["a"], "test"), lambda: None)
    z, log_weights = torch.zeros(3, 1, 1, 1), torch.tensor([[0.1, 0.7, 0.2]]).log()
    for step in (1, 0, 1):
        trace(step, z=z)
    trace(0, z=z[:2], log_weights=log_weights, resampled=torch.tensor([True]))
    assert [move.parents.tolist() for move in trace.moves] == [[0, 1, 2], [1, 2]]
    assert [trail.tolist() for trail in lineages(trace.moves)] == [[1, 2], [1, 2], [0, 1]]


def test_the_prediction_is_that_of_the_latest_call_for_all_particles() -> None:
    class Prior:
        alpha_bar = torch.tensor([0.81, 0.25], dtype=torch.float64)

        def eps(self, z: Tensor, t: Tensor) -> Tensor:
            return torch.full_like(z, 0.5)

        def decode(self, z: Tensor) -> Tensor:
            return z.expand(-1, 3, -1, -1)

    watched = WatchedPrior(Prior())
    trace = Recorder(2, watched, WatchedNoise(0, ["a"], "test"), lambda: None)
    for rows, t in (2, 1), (1, 0):  # the second call is for one particle alone
        watched.eps(torch.full((rows, 1, 1, 1), 0.6), torch.full((rows,), t))
    trace(0)
    [call] = trace.calls
    found = film.predicted(Prior(), *call)  # type: ignore[arg-type]
    z_0 = (0.6 - 0.75**0.5 * 0.5) / 0.5
    assert trace.moves[0].t == 1 and found.shape == (2, 1, 1, 3)
    assert (found == round((z_0 + 1) * 127.5)).all()


def played(moves: int = 3, n: int = 7) -> Tape:
    """A tape of plain colours: 7 particles that all descend from number 2 of the second move."""
    blank = channels_last(torch.zeros(n, 3, 16, 16, dtype=torch.uint8))
    flat = np.full(n, 1 / n)
    steps = [Move(np.full(n, 2) if k == 2 else np.arange(n), flat, k == 2, 100 - k) for k in range(moves)]
    labels = RunLabels("ldsmc", "box", "toyfaces", steps=moves, particles=n, seed=0)
    red, blue = (blank[0] + np.array(colour, np.uint8) for colour in (RED, BLUE))
    return Tape("a", labels, steps, dict.fromkeys((0, 2), blank), blank[0], red, blue, 4)


def test_the_film_has_a_frame_for_each_prediction_and_the_result_last_and_longest(tmp_path: Path) -> None:
    with Image.open(genealogy.save_film(played(), tmp_path)) as gif:
        assert gif.n_frames == 3 and gif.width < 128 * 6  # seven particles in rows of five
        frames, times = [], []
        for k in range(3):
            gif.seek(k)
            frames.append(np.asarray(gif.convert("RGB")))
            times.append(gif.info["duration"])
    assert times[2] > 5 * times[0] == 5 * times[1]
    found = [[(one == colour).all(2).sum() for colour in (RED, BLUE)] for one in frames]
    assert found == [[128 * 128, 0], [128 * 128, 0], [128 * 128, 128 * 128]]  # the result in the last alone


def segments(tree: Axes) -> dict[str, list[list[list[float]]]]:
    """The lines of the tree, from and to (step, particle), by their names in the legend."""
    lines = [one for one in tree.collections if isinstance(one, LineCollection)]
    return {str(one.get_label()): [line.tolist() for line in one.get_segments()] for one in lines}


def test_lines_are_named_by_where_they_lead() -> None:
    found = segments(genealogy.draw(played()).axes[0])
    assert found["leads to the result"] == [[[0, 2], [1, 2]], [[1, 2], [2, 2]], [[2, 2], [3, 4]]]
    assert len(found["reaches the end"]) == 6  # the brothers of the chosen one
    assert len(found["dies out"]) == 12 and len(found["resampling"]) == 1


@pytest.mark.parametrize("n", [2, 5, 20])
def test_axes_have_names_and_whole_numbers(n: int) -> None:
    figure = genealogy.draw(played(min(n, 12), n)._replace(chosen=0) if n > 2 else played(2, 2)._replace(chosen=0))
    figure.draw_without_rendering()
    tree, below = figure.axes
    assert tree.get_ylabel().startswith("particle") and below.get_xlabel().startswith("step")
    for axis in (tree.yaxis, below.xaxis):
        ticks = [label.get_text() for label in axis.get_ticklabels()]
        assert len(ticks) > 1 and all(text.replace("\N{MINUS SIGN}", "").isdigit() for text in ticks)
    [legend] = figure.legends
    assert {"resampling", "ESS / N", "leads to the result"} <= {text.get_text() for text in legend.get_texts()}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["image=test"], "image=test: dataset=toyfaces has no such image; 0 to "),
        (["image=5000000"], "image=5000000: dataset=toyfaces has no such image; 0 to "),
        (["frames=1"], "frames=1: must be from 2 to 1000"),
        (["dataset=mixture", "task=linear"], "dataset=mixture: has no pictures; choose one of images"),
        (["stesp=3"], "stesp"),
        (["particles=0"], "particles=0: must be a whole number of at least 1"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert film.main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {line}") and err.count("\n") == 1


def test_the_command_writes_the_film_and_of_one_particle_no_tree(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert film.main(["method=dps", "task=denoise", "steps=3", "image=1", f"results_dir={tmp_path}"]) == 0
    path = tmp_path / "figures" / "film-denoise-toyfaces-dps-N1-3steps-test-000001.gif"
    assert capsys.readouterr().out == f"film: {path}\n"
    assert [one.name for one in (tmp_path / "figures").iterdir()] == [path.name] and not (tmp_path / "runs").exists()
