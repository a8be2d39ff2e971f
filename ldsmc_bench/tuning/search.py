"""The search for hyper-parameters: Optuna proposes values, images judge them, a budget of denoiser calls ends it.

Nothing is stored here. All random numbers are seeded, so a search that is begun again proposes the same values, and
finds what it has computed where `evaluate` keeps it; with a larger budget it goes on from there.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ldsmc_bench.errors import UserError

if TYPE_CHECKING:
    import optuna

STARTUP = 6  # trials at random before the sampler models what it has seen
LEVEL = 0.05  # of the signed-rank test that stops a trial
LEAST = 6  # images; the test of fewer never reaches a level of 0.02
REPEATS = 50  # proposals in a row that were tried before: the space has no others

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Scored:
    """An image: its value of the objective, None where it failed, and the denoiser calls that it took."""

    loss: float | None
    calls: float


# The first so many images, restored with these values.
Evaluate = Callable[[Values, int], Sequence[Scored]]


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, evenly in their logarithm with `log`: whole ones if both bounds are, else of three
    digits."""

    low: float
    high: float
    log: bool = False

    @property
    def first(self) -> float:
        return self.low

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def read(self, text: str) -> float:
        """The value that is written as `text`. Raises ValueError."""
        return int(text) if self.whole else float(text)

    def ask(self, trial: "optuna.trial.Trial", name: str) -> float:
        if self.whole:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        return float(f"{trial.suggest_float(name, self.low, self.high, log=self.log):.3g}")

    def __contains__(self, value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high


@dataclass(frozen=True)
class Choice:
    """One of these values."""

    options: tuple[Any, ...]

    @property
    def first(self) -> Any:
        return self.options[0]

    def read(self, text: str) -> Any:
        """The value that is written as `text`. Raises ValueError."""
        return self.options[[str(option) for option in self.options].index(text)]

    def ask(self, trial: "optuna.trial.Trial", name: str) -> Any:
        return trial.suggest_categorical(name, self.options)

    def __contains__(self, value: Any) -> bool:
        return value in self.options


Space = Mapping[str, Range | Choice]


def space_of(search: Any, method: str) -> Space:
    """The space that the `search` of a method's YAML describes. Raises UserError for an unclear one, or for none."""
    if not isinstance(search, Mapping) or not search:
        example = "search: {zeta: {low: 0.1, high: 10.0, log: true}, order: [1, 2]}"
        raise UserError(f"method.search: {method} has no space to search; add to its YAML, for example, {example}")
    return {name: _axis(f"method.search.{name}", one) for name, one in search.items()}


def _axis(key: str, one: Any) -> Range | Choice:
    match one:
        case [_, *_] if all(isinstance(option, bool | int | float | str | None) for option in one):
            return Choice(tuple(one))
        case {"low": int() | float() as low, "high": int() | float() as high, **others} if (
            low < high and others.keys() <= {"log", "calls"} and all(isinstance(flag, bool) for flag in others.values())
        ):
            log = bool(others.get("log"))
            if not log or low > 0:
                return Range(low, high, log)
    raise UserError(f"{key}={one}: must be {{low: 0.1, high: 10.0, log: true}}, or a list of choices; low < high")


@dataclass(frozen=True)
class Trial:
    """Values and what came of them: the losses of the first images, the calls that they took, and how it ended.

    `whole`: all images; `worse`: stopped, as worse than the best; `failed`: an image was; `budget`: that was spent.
    """

    number: int
    values: Values
    losses: tuple[float, ...]
    calls: float
    end: Literal["whole", "worse", "failed", "budget"]

    @cached_property
    def mean(self) -> float:
        return float(np.mean(self.losses)) if self.losses else float("nan")

    @cached_property
    def se(self) -> float | None:
        """The standard error of the mean over images; None of fewer than two."""
        return float(np.std(self.losses, ddof=1) / len(self.losses) ** 0.5) if len(self.losses) > 1 else None


@dataclass(frozen=True)
class Limits:
    """Images of a whole trial, of which so many are looked at together, and denoiser calls of all trials."""

    images: int
    batch: int
    budget: int


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The first of the least mean among those of all images."""
    return min((one for one in trials if one.end == "whole"), key=lambda one: one.mean, default=None)


def search(space: Space, start: Values, evaluate: Evaluate, limits: Limits, seed: int) -> Iterator[Trial]:
    """Yield trials, each as it ends, while the budget has the calls of a whole one left; `start` is the first, if any.

    After every batch a trial is stopped if a signed-rank test on the images that it shares with the best one finds it
    worse. Raises UserError for a budget that has no whole trial.
    """
    optuna = _optuna()
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP),
        pruner=optuna.pruners.WilcoxonPruner(p_threshold=LEVEL, n_startup_steps=LEAST),
    )
    if start:
        study.enqueue_trial(dict(start))
    spent, whole, repeats = 0.0, 0.0, 0
    level: Sequence[float] | None = None  # the losses of the first whole trial: some images are harder than others
    told: dict[str, float | None] = {}
    while spent + whole <= limits.budget and repeats < REPEATS:
        asked = study.ask()
        values = {name: axis.ask(asked, name) for name, axis in space.items()}
        if repr(values) in told:
            repeats += 1
            _tell(study, asked, told[repr(values)])
            continue
        trial, told[repr(values)] = _try(asked, len(told), values, evaluate, limits, spent, level)
        spent, repeats = spent + trial.calls, 0
        if trial.end == "whole":
            whole, level = trial.calls, level or trial.losses
        _tell(study, asked, told[repr(values)])
        yield trial


def _tell(study: "optuna.Study", asked: "optuna.trial.Trial", loss: float | None) -> None:
    """Tell the sampler the loss of a trial; one without counts as worse than all others."""
    study.tell(asked, loss, state=_optuna().trial.TrialState.PRUNED if loss is None else None)


def _try(
    asked: "optuna.trial.Trial",
    number: int,
    values: Values,
    evaluate: Evaluate,
    limits: Limits,
    spent: float,
    level: Sequence[float] | None,
) -> tuple[Trial, float | None]:
    """A trial, image batch by image batch, and its loss for the sampler, None where it has none.

    What is reported are losses less those of `level`, plus their mean: a mean over few images is then an estimate of
    that over all, and differences of two trials on an image stay as they are. The first whole trial is its own level.
    """
    images, batch, budget = limits.images, limits.batch, limits.budget
    losses: list[float] = []
    for count in [*range(batch, images, batch), images]:
        scored = evaluate(values, count)
        calls = sum(one.calls for one in scored)
        found = [one.loss for one in scored if one.loss is not None]
        if len(found) < count:
            return Trial(number, values, tuple(found), calls, "failed"), None
        if number == 0 and calls / count * images > budget:
            needed = f"a trial of {images} images takes about {calls / count * images:.0f} calls"
            raise UserError(f"budget={budget}: {needed}; give more, about 20 times that, or fewer images")
        if level is None and count == images:
            level, losses = found, []  # no image is reported yet
        apart = np.array(found) - (0 if level is None else np.array(level[:count]) - np.mean(level))
        for image in range(len(losses), count if level is not None else 0):
            asked.report(float(apart[image]), image)
        losses, loss = found, float(np.mean(apart))
        if count < images and spent + calls >= budget:
            return Trial(number, values, tuple(losses), calls, "budget"), loss
        if count < images and asked.should_prune():
            return Trial(number, values, tuple(losses), calls, "worse"), loss
    return Trial(number, values, tuple(losses), calls, "whole"), loss


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise UserError("tune needs Optuna: in the checkout, pip install '.[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of the pruner
    return optuna
