"""The command line: a bare first word is a sub-command, everything else a run.

ldsmc-bench method=ldsmc task=freeform -m particles=1,5,10
"""

import re
import sys

from ldsmc_bench.cli import entry

WORD = re.compile(r"[A-Za-z][\w-]*")


def main() -> int:
    """Do what the command line asks for; the exit code is 0, 1 where something is not whole, 2 for a mistake in it."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    if WORD.fullmatch(word):
        return entry(lambda: _sub_command(word))()
    if {"-h", "--help", "--version", "--completion"} & set(sys.argv[1:]):
        from ldsmc_bench.commands.help import answer

        return entry(answer)()
    from ldsmc_bench.commands.run import main as run

    return run()


def _sub_command(word: str) -> int:
    from ldsmc_bench.commands import find_command

    command = find_command(word)
    del sys.argv[1]
    return command()


if __name__ == "__main__":
    sys.exit(main())
