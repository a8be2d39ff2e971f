from itertools import pairwise

import pytest

from baselines.levels import released_rows
from ldsmc_bench.prior.schedule import scaled_linear


def test_the_released_rows_are_every_fiftieth_step_moved_up_by_one_and_end_at_the_first_level() -> None:
    alpha_bar = scaled_linear()
    rows = released_rows(alpha_bar, 20, 0.0)
    assert [row.t for row in rows] == [1 + 50 * j for j in range(20)]
    assert [row.a for row in rows] == pytest.approx([alpha_bar[row.t].item() for row in rows], rel=1e-6)
    assert [row.a_prev for row in rows] == [alpha_bar.float()[0].item(), *(row.a for row in rows[:-1])]


@pytest.mark.parametrize(("steps", "taken"), [(1, 1), (8, 8), (300, 334), (500, 500), (501, 1000), (1000, 1000)])
def test_the_released_rows_number_what_the_stride_gives(steps: int, taken: int) -> None:
    assert len(released_rows(scaled_linear(), steps, 1.0)) == taken


@pytest.mark.parametrize("steps", [3, 9, 27, 36, 101, 111, 251, 333, 501, 1000])
def test_released_rows_that_would_leave_the_schedule_sit_one_level_lower(steps: int) -> None:
    rows = released_rows(scaled_linear(), steps, 1.0)
    assert rows[-1].t == 1000
    assert rows[-1].a == pytest.approx(scaled_linear()[999].item(), rel=1e-6)
    assert rows[0].a == rows[0].a_prev
    assert rows[0].sigma == 0


@pytest.mark.parametrize("steps", range(1, 101))
def test_released_rows_of_any_number_of_steps_are_rows(steps: int) -> None:
    rows = released_rows(scaled_linear(100), steps, 1.0)
    assert all(high.a < low.a and high.a_prev == low.a for low, high in pairwise(rows))
    assert all(0 <= row.sigma**2 <= 1 - row.a_prev + 1e-12 for row in rows)
