"""What a process does when it is told to stop."""

import os
import signal

import pytest

from ldsmc_bench.signals import stoppable


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
