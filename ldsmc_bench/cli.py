"""The frame of every command: one line for a mistake, and an output that may be ASCII, full, or a pipe that closes."""

import argparse
import functools
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, ParamSpec

from ldsmc_bench.errors import UserError, nearest, one_line
from ldsmc_bench.running.progress import stopped

DEFAULT, NO_RUNS = "results", "no runs yet: make run"
HOME = re.compile(r"(^|(?:^[\w.+-]+=|,)['\"]?)~(?=/)")  # also in a sweep: results_dir='~/a','~/b'
P = ParamSpec("P")


def print_error(what: object) -> int:
    """Print a mistake on stderr as the one line that all commands have for one; returns their exit code, 2."""
    print(f"error: {' '.join(str(what).split())}", file=sys.stderr)
    return 2


@contextmanager
def going_on(failed: list[str], name: str = "", kind: type[Exception] = UserError) -> Iterator[None]:
    """Inside, a mistake is printed at once and added to `failed`, and does not keep the next thing from being done."""
    try:
        yield
    except kind as error:
        what = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        failed.append(f"{name}: {what}{one_line(error)}" if name else f"{what}{one_line(error)}")
        print_error(failed[-1])


def entry(main: Callable[P, int | None]) -> Callable[P, int]:
    """Make a command of `main`: it returns an exit code, and each mistake of the user's is one line on stderr, code 2.

    A closed pipe changes nothing, not even the code: its reader has seen enough. Ctrl-C is code 1. On the command
    line `~/` is the user's folder wherever a value begins, whether the shell saw to that or not.
    """

    @functools.wraps(main)
    def command(*arguments: P.args, **options: P.kwargs) -> int:
        sys.argv[1:] = [HOME.sub(lambda found: found[1] + os.path.expanduser("~"), value) for value in sys.argv[1:]]
        with outputs() as failed:
            try:
                code = main(*arguments, **options) or 0
            except UserError as error:
                code = print_error(error)
            except OSError as error:  # Python names no file where writing, not opening, fails
                file = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else "a file"
                why = f"cannot be read or written ({error.strerror or error})"
                code = print_error(f"{file}: {why}: make that possible, or give another path")
            except KeyboardInterrupt:
                print(f"\n{stopped()}", file=sys.stderr)
                code = 1
            return code or max(map(print_error, failed()), default=0)

    return command


class Output(io.FileIO):
    """A descriptor that never stops the work: what it cannot take is dropped, and the first reason kept."""

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.failure = self.failure or error
            return memoryview(data).nbytes


@contextmanager
def outputs() -> Iterator[Callable[[], list[str]]]:
    """Inside, stdout and stderr take every character, as an escape where need be, and never raise. The value returns
    a line for each that lost something, unless its reader closed it."""
    before, taken = (sys.stdout, sys.stderr), dict[str, Output]()
    for name, stream in zip(("stdout", "stderr"), before, strict=True):
        if isinstance(stream, io.TextIOWrapper) and isinstance(stream.buffer, io.BufferedWriter | io.FileIO):
            stream.flush()
            raw = taken[name] = Output(stream.fileno(), "w", closefd=False)
            at_once = name == "stderr" or stream.line_buffering or stream.write_through
            text = io.TextIOWrapper(io.BufferedWriter(raw), stream.encoding, "backslashreplace", line_buffering=at_once)
            setattr(sys, name, text)

    def failed() -> list[str]:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        return [
            f"{name}: cannot be written ({raw.failure.strerror}): what this command made is kept, but not its text"
            for name, raw in taken.items()
            if raw.failure and not isinstance(raw.failure, BrokenPipeError)
        ]

    try:
        yield failed
    finally:
        failed()
        sys.stdout, sys.stderr = before


class Options(argparse.ArgumentParser):
    """The options of a sub-command: `key=value` as for a run, `true` or `false` for a switch; `--key value` does too.

    A mistake in them is a UserError. Every option is added by `add_argument`, under its name with dashes.
    """

    def __init__(self, command: str, description: str | None, *, results_dir: bool = False) -> None:
        super().__init__(f"ldsmc-bench {command}", description=description, formatter_class=_KeyHelp)
        if results_dir:
            what = "the folder that holds runs/ (default: %(default)s)"
            self.add_argument("--results-dir", type=Path, default=DEFAULT, metavar="R", help=what)

    def read(self, arguments: Sequence[str] | None = None) -> argparse.Namespace:
        """The values of the options in `arguments`, by default those of the command line. Raises UserError."""
        given = sys.argv[1:] if arguments is None else arguments
        options, unknown = self.parse_known_intermixed_args([flag for one in given for flag in self._as_flags(one)])
        if unknown:
            key = unknown[0].lstrip("-").partition("=")[0]
            keys = [_key(action) for action in self._actions if action.option_strings]
            raise UserError(f"{unknown[0]}: {self.prog} has no such option; {nearest(key, keys)}")
        return options

    def format_help(self) -> str:
        names = [str(action.metavar or action.dest) for action in self._get_positional_actions()]
        self.usage = " ".join([self.prog, *names, "[key=value ...]"])
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; {self.prog} --help shows the options")

    def _as_flags(self, argument: str) -> list[str]:
        """An argument as argparse has it: `out=a` is `--out=a`, `json=true` is `--json`; others stay as they are.
        Raises UserError, also for an empty value, which would be taken for the default."""
        key, equals, value = argument.removeprefix("--").partition("=")
        flag = f"--{key.replace('_', '-')}"
        if argument and (not equals or flag not in self._option_string_actions):
            return [argument]
        switch = argument != "" and self._option_string_actions[flag].nargs == 0
        if value not in ("true", "false") if switch else not value:
            what = "must be true or false" if switch else "give it a value, or leave it out"
            raise UserError(f"{argument or repr(argument)}: {what}")
        return [flag] * (value == "true") if switch else [f"{flag}={value}"]


class _KeyHelp(argparse.RawDescriptionHelpFormatter):
    """Shows `--out OUT` as `out=OUT`."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.dest == "help":
            return super()._format_action_invocation(action)
        choices = "|".join(map(str, action.choices or ()))
        return f"{_key(action)}={'true' if action.nargs == 0 else action.metavar or choices or action.dest.upper()}"


def _key(action: argparse.Action) -> str:
    return action.option_strings[-1].lstrip("-").replace("-", "_")


def require_runs(results_dir: str | Path, absent: str = NO_RUNS) -> None:
    """Raises UserError, with the line `absent`, where there is no run yet."""
    if has_no_runs(results_dir):
        raise UserError(absent)


def has_no_runs(results_dir: str | Path) -> bool:
    """True if there is no run yet, in the default folder before the first command made it too. Raises UserError where
    a folder that was given cannot be read."""
    from ldsmc_bench.records.store import runs  # a command that composes runs has no use for it yet

    return (str(results_dir) == DEFAULT and not Path(results_dir).exists()) or not runs(results_dir)
