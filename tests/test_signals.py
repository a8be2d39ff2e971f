"""What a process does when it is told to stop."""

import os
import signal

import pytest

from ldsmc_bench.running.progress import stoppable, stopped


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_ends_the_work_and_lets_it_tidy_up(number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    before, tidied = signal.getsignal(number), []
    with pytest.raises(SystemExit) as stopped, stoppable():
        try:
            os.kill(os.getpid(), number)
        finally:
            tidied.append(True)
    assert stopped.value.code == 128 + number and tidied
    assert f"stopped by {number.name}" in capsys.readouterr().err
    assert signal.getsignal(number) is before


def test_a_stop_says_what_it_loses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ldsmc_bench.running.progress.lost", lambda: "work on 3 of 4 images in the running batch is lost"
    )
    loss = "work on 3 of 4 images in the running batch is lost"
    assert stopped(" by SIGTERM") == f"stopped by SIGTERM; {loss}; the same command goes on from here"
    monkeypatch.setattr("ldsmc_bench.running.progress.lost", lambda: "")
    assert stopped() == "stopped; the same command goes on from here"


def test_a_launcher_keeps_the_signal_that_it_listens_to(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda number, frame: heard.append(number))
    try:
        with stoppable():
            os.kill(os.getpid(), signal.SIGUSR2)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert heard == [signal.SIGUSR2]


def test_queueing_again_is_not_cut_short() -> None:
    def checkpoint_and_try_requeue() -> str:  # submitit's name
        os.kill(os.getpid(), signal.SIGTERM)
        return "queued"

    with stoppable():
        assert checkpoint_and_try_requeue() == "queued"
