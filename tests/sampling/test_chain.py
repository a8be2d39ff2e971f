from itertools import pairwise

import pytest
import torch

from ldsmc_bench.errors import UserError
from ldsmc_bench.prior.schedule import linear, scaled_linear
from ldsmc_bench.sampling.chain import grid, paper_chain, released_chain


def test_latent_diffusions_schedule() -> None:
    """Values of the FFHQ latent-diffusion schedule."""
    alpha_bar = scaled_linear()
    known = {0: 0.9985, 1: 0.996994, 10: 0.983195, 100: 0.823117, 333: 0.345011, 500: 0.114922, 999: 1.42304e-4}
    for i, value in known.items():
        assert alpha_bar[i].item() == pytest.approx(value, rel=2e-6)


def test_pixel_schedule_ends_where_ddpm_ends() -> None:
    assert linear()[0].item() == pytest.approx(1 - 1e-4)
    assert linear()[-1].item() == pytest.approx(4.03582e-5, rel=1e-4)
    assert linear(100)[0].item() == pytest.approx(1 - 1e-3)


@pytest.mark.parametrize("make", [paper_chain, released_chain])
def test_sigma_at_full_resolution(make) -> None:
    rows = {row.t: row for row in make(scaled_linear(), 1000, 1.0).rows.values()}
    for t, sigma in {1: 0.027432, 333: 0.072267, 999: 0.139642}.items():
        assert rows[t].sigma == pytest.approx(sigma, rel=2e-4)
    assert rows[0].sigma == 0
    assert rows[0].a_prev == 1


def test_the_papers_chain_ends_clean_and_its_labels_sit_at_their_latents_level() -> None:
    chain = paper_chain(scaled_linear(), 20, 1.0)
    assert [chain.rows[k].t for k in (1, 2, 20)] == [49, 99, 999]
    assert 0 not in chain.rows
    assert all(chain.label_rows[k].a_prev == chain.rows[k].a for k in range(1, 20))


def test_the_released_chain_starts_past_the_schedule_and_uses_the_first_level_twice() -> None:
    chain = released_chain(scaled_linear(), 1000, 1.0)
    assert [chain.rows[k].t for k in (1000, 999, 998, 0)] == [1000, 999, 998, 0]
    assert chain.rows[1000].a == chain.rows[999].a
    assert chain.label_rows[5].a_prev == chain.rows[4].a  # labels are one step cleaner than their latents


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 27, 36, 101, 251, 333, 500, 501, 999, 1000])
def test_any_number_of_steps_ends_at_the_last_training_step(steps: int) -> None:
    levels = grid(scaled_linear(), steps)
    assert len(levels) == steps
    assert levels[-1] == 999
    assert all(a < b for a, b in pairwise(levels))
    rows = paper_chain(scaled_linear(), steps, 1.0).rows
    assert all(torch.isfinite(torch.tensor([row.a, row.a_prev, row.sigma])).all() for row in rows.values())


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_steps_past_the_schedule_are_refused(steps: int) -> None:
    with pytest.raises(UserError, match=rf"steps={steps}: .*1000"):
        paper_chain(scaled_linear(), steps, 1.0)


def test_eta_scales_sigma() -> None:
    full, half = paper_chain(scaled_linear(), 50, 1.0), paper_chain(scaled_linear(), 50, 0.5)
    assert half.rows[30].sigma == pytest.approx(full.rows[30].sigma / 2)
