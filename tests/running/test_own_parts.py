"""A prior, a data set or an operator that is not what it should be is one line, before or instead of a wrong number."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from ldsmc_bench.config import instantiate, problem_of, validate
from ldsmc_bench.errors import UserError, notify
from ldsmc_bench.noise import Noise
from ldsmc_bench.prior.counting import CallCounter
from ldsmc_bench.problem.datasets import Dataset
from ldsmc_bench.problem.draws import first_draws
from ldsmc_bench.problem.measurement import measure
from ldsmc_bench.problem.operators import Identity
from ldsmc_bench.problem.problem import load_batch
from ldsmc_bench.running.own_parts import look_for_gradient, require_adjoint, require_dataset, require_prior
from ldsmc_bench.running.restore import dry_run
from tests.commands import configured

LEVELS = torch.linspace(0.99, 0.01, 20, dtype=torch.float64)
PICTURE = torch.zeros(3, 8, 8)


def prior(**others: Any) -> Any:
    """A prior of latents (4,8,8) and images (3,16,16)."""
    whole: dict[str, Any] = dict.fromkeys(("to", "conditioned", "eps_and_variance"), lambda *given: None)
    whole |= {"shape": (4, 8, 8), "image_size": 16, "channels": 3, "alpha_bar": LEVELS, "digest": "d"}
    whole |= {"eps": lambda z, t: 2 * z, "decode": lambda z: torch.zeros(len(z), 3, 16, 16)}
    whole |= {"encode": lambda x: torch.zeros(len(x), 4, 8, 8)}
    return SimpleNamespace(**whole | others)


@pytest.mark.parametrize(
    ("made", "line"),
    [
        (None, r"^prior=mine: prior.load gives NoneType, without shape, image_size, alpha_bar, digest, to, "),
        (prior(alpha_bar=LEVELS.tolist()), "alpha_bar must be a tensor"),
        (prior(alpha_bar=LEVELS.flip(0)), "alpha_bar must be a tensor .* that falls"),
        (prior(alpha_bar=LEVELS - 0.01), "above 0"),
        (prior(alpha_bar=LEVELS + 0.1), "from 1 at most"),
        (prior(alpha_bar=LEVELS.log()), "alpha_bar"),
        (prior(alpha_bar=LEVELS * float("nan")), "alpha_bar"),
        (prior(digest=""), "its digest is empty"),
    ],
)
def test_a_prior_that_lacks_something(made: Any, line: str) -> None:
    require_prior("prior=mine", prior())
    with pytest.raises(UserError, match=line):
        require_prior("prior=mine", made)


def rows(size: int, *shape: int) -> Callable[..., Tensor]:
    return lambda *given: torch.zeros(size, *shape)


@pytest.mark.parametrize(
    ("part", "wrong", "line"),
    [
        ("eps", rows(2, 1, 8, 8), r"denoiser gives \(2, 1, 8, 8\) where \(2, 4, 8, 8\) is wanted"),
        ("eps", rows(1, 4, 8, 8), r"denoiser gives \(1, 4, 8, 8\)"),
        ("eps", lambda z, t: z.detach() + 1, "its eps has no gradient"),
        ("decode", rows(2, 3, 8, 8), r"decoder gives .* where \(2, 3, 16, 16\) is wanted"),
        ("encode", rows(2, 4, 4, 4), r"encoder gives .* where \(2, 4, 8, 8\) is wanted"),
    ],
)
def test_a_network_of_a_wrong_shape_or_without_gradient(part: str, wrong: Callable[..., Tensor], line: str) -> None:
    def call(counter: CallCounter) -> Tensor:
        given = {
            "eps": (torch.zeros(2, 4, 8, 8, requires_grad=True), torch.ones(2)),
            "decode": (torch.zeros(2, 4, 8, 8),),
            "encode": (torch.zeros(2, 3, 16, 16),),
        }
        out: Tensor = getattr(counter, part)(*given[part])
        return out

    call(CallCounter(prior()))
    with pytest.raises(UserError, match=f"^prior.load: .*{line}"):
        call(CallCounter(prior(**{part: wrong})))


@pytest.mark.parametrize(
    ("ids", "line"),
    [
        (["a/b"], "the id 'a/b' must be a text of letters"),
        ([".."], r"the id '\.\.'"),
        (["a" * 201], ".* 200 at most"),
        ([7], "the id 7 must be a text"),
        (["a", "b", "a"], "two images have one id"),
        ([], "no images"),
    ],
)
def test_ids_that_cannot_be(ids: list[Any], line: str) -> None:
    with pytest.raises(UserError, match=f"^dataset=mine: {line}"):
        require_dataset("dataset=mine", Dataset("mine", ids, lambda image_id: PICTURE, "d"))
    with pytest.raises(UserError, match="gives list; return a Dataset"):
        require_dataset("dataset=mine", ids)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("image", "line"),
    [
        (None, "a is NoneType"),
        (PICTURE.numpy(), "a is ndarray"),
        (PICTURE.double(), "a is torch.float64"),
        (PICTURE[None], "a is torch.float32 (1, 3, 8, 8)"),
        (PICTURE + 254, "a has values from 254 to 254; scale images"),
        (PICTURE * float("nan"), "a has values from nan"),
    ],
)
def test_an_image_of_another_type_or_range_fails_alone(image: Any, line: str) -> None:
    images = {"a": image, "b": PICTURE}
    dataset = Dataset("mine", list(images), images.__getitem__, "d")
    problem = problem_of(validate(configured("task=denoise")), dataset)
    batch = load_batch(problem, first_draws(dataset.ids), (3, 8, 8))
    assert batch.ids == ["b"]
    (reason,) = batch.unreadable.values()
    assert reason.startswith("dataset=mine: ") and line in reason
    if "values from 254" in line:
        assert not load_batch(replace(problem, bounded=False), first_draws(dataset.ids), (3, 8, 8)).unreadable


def broken(**parts: Any) -> Any:
    """An identity with other parts."""
    return type("Broken", (Identity,), parts)()


@pytest.mark.parametrize(
    ("made", "line"),
    [
        (None, "gives NoneType, without linear, adjoint, observed, select, to"),
        (broken(__call__=lambda self, x: x.flatten(1)), r"a row an image; of 2 images it is torch.float32 \(2, 192\)$"),
        (broken(__call__=lambda self, x: x + 0j), "must give real .*complex64"),
        (broken(__call__=lambda self, x: torch.cat([x, x])), "of 2 images it is"),
    ],
)
def test_an_operator_that_does_not_measure_row_by_row(made: Any, line: str) -> None:
    noise = Noise(0, ["a", "b"], "measurement")
    with pytest.raises(UserError, match=f"^task.operator: .*{line}"):
        measure(torch.zeros(2, 3, 8, 8), lambda size, noise: made, noise, noise_std=0.1, noise_in_hole=False)


@pytest.mark.parametrize(
    "adjoint", [torch.zeros_like, lambda y: 0.9 * y, lambda y: -y, lambda y: y.roll(1, dims=3), lambda y: y[:, :1]]
)
@pytest.mark.parametrize("size", [16, 512])
def test_a_false_adjoint_is_refused_at_every_size(adjoint: Callable[[Tensor], Tensor], size: int) -> None:
    require_adjoint("task=mine", Identity(), (3, size, size), Noise(0, ["all"], "adjoint"))
    with pytest.raises(UserError, match=r"^task=mine: adjoint "):
        wrong = broken(adjoint=lambda self, y: adjoint(y))
        require_adjoint("task=mine", wrong, (3, size, size), Noise(0, ["all"], "adjoint"))


@pytest.mark.parametrize("call", [lambda self, x: x.detach(), lambda self, x: torch.from_numpy(x.numpy() ** 2)])
def test_an_operator_without_gradient_is_named(call: Any, capsys: pytest.CaptureFixture[str]) -> None:
    notify.cache_clear()
    look_for_gradient("task=mine", Identity(), (3, 8, 8))
    assert capsys.readouterr().err == ""
    look_for_gradient("task=mine", broken(__call__=call), (3, 8, 8))
    assert capsys.readouterr().err.startswith("warning: task=mine: A(x) has no gradient")


def test_a_run_checks_them_before_it_keeps_anything() -> None:
    settings = validate(configured("task=denoise"))
    own = instantiate(settings.config["prior"]["load"])
    dataset = Dataset("toyfaces", ["a"], lambda image_id: PICTURE, "d")
    dry_run(settings, problem_of(settings, dataset), own)
    with pytest.raises(UserError, match=r"^prior=ldm_toyfaces: its digest is empty"):
        dry_run(settings, problem_of(settings, dataset), replace(own, digest=""))
    with pytest.raises(UserError, match=r"^dataset=toyfaces: no images"):
        dry_run(settings, problem_of(settings, replace(dataset, ids=[])), own)
    wrong = replace(problem_of(settings, dataset), operator=lambda size, noise: broken(adjoint=torch.zeros_like))
    with pytest.raises(UserError, match=r"^task=denoise: adjoint "):
        dry_run(settings, wrong, own)
