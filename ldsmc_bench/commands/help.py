"""Answers of the command line about itself: `--help`, `--help all`, `--version` and `--completion`."""

import sys
import textwrap
from typing import Any

import yaml

from ldsmc_bench import __version__
from ldsmc_bench.commands import COMMANDS, OF_THE_HOUSE
from ldsmc_bench.errors import UserError
from ldsmc_bench.files import CONF

USAGE = """\
ldsmc_bench: which sampler solves this inverse problem best, and can the number be trusted?

  ldsmc-bench method=ldsmc task=freeform -m particles=1,5,10      a run of each (or: python -m ldsmc_bench)

Settings of a run (default):
{settings}

  -m                every combination of the values in comma lists; hydra/launcher=slurm submits them, gpus shares them
  --help all        every choice and every key; --cfg job shows what a command would run
  --version, --completion bash|zsh (in ~/.bashrc or ~/.zshrc: eval "$(ldsmc-bench --completion bash)", or zsh)

Sub-commands: a bare first word, as in `ldsmc-bench status`; each has a --help:
{commands}"""
SETTINGS = {
    "method": "",
    "task": "",
    "dataset": "",
    "prior": "the model of clean images; by default the data set's own",
    "variant": "of the method: default, paper (as written), released (as its public code computes), ...",
    "particles": "N of a method with particles (5)",
    "steps": "of the reverse diffusion (25)",
    "n_images": "the first images of the data set (8)",
    "draws": "answers to each measurement (1)",
    "seed": "of measurements and samplers (0)",
    "batch_size": "images at once (auto)",
    "device": "auto, cpu, cuda, cuda:1, ...",
    "results_dir": "the folder of all results (results)",
}
WORDS = {
    "precision": ["fp64", "fp32", "tf32", "bf16"],
    "device": ["auto", "cpu", "cuda"],
    "launch": ["attached", "detached"],
    "wandb.mode": ["auto", "online", "offline", "disabled"],
    "hydra/launcher": ["gpus", "slurm"],
}
# Completes the last word, without starting Python: of `task=box,fr`, the part behind the last comma. Bash has cut the
# line at `=` already where COMP_WORDBREAKS holds it, and then takes only what follows.
SCRIPT = """\
_ldsmc_bench() {{
  local line="${{COMP_LINE:0:$COMP_POINT}}" word head="" options
  word="${{line##* }}"
  case "$word" in
{choices}
    *=*) COMPREPLY=(); return ;;
    *) options="{keys}"; [[ $COMP_CWORD == 1 ]] && options="{commands} $options" ;;
  esac
  [[ "$word" == *=* ]] && head="${{word%%=*}}="
  [[ "$word" == *,* ]] && head="${{word%,*}},"
  COMPREPLY=($(compgen -P "$head" -W "$options" -- "${{word#"$head"}}"))
  if [[ "$word" == *=* && "$COMP_WORDBREAKS" == *=* ]]; then COMPREPLY=("${{COMPREPLY[@]#*=}}"); fi
}}
complete -o default -o nospace -F _ldsmc_bench ldsmc-bench"""
# zsh runs a bash function, once its own completion is on: many a .zshrc does not switch that on.
ZSH = """\
(( $+functions[compdef] )) || { autoload -U compinit && compinit }
autoload -U +X bashcompinit && bashcompinit"""


def answer() -> int:
    """Print what the command line asks about the program."""
    arguments = sys.argv[1:]
    if "--version" in arguments:
        print(f"ldsmc_bench {__version__}")
    elif "--completion" in arguments:
        print(completion(*arguments[arguments.index("--completion") + 1 :][:1]))
    elif "all" in arguments:
        from ldsmc_bench.commands.run import main

        sys.argv[1:] = [argument for argument in arguments if argument != "all"]
        return main()
    else:
        settings = [f"  {key + '=':16}{what or ' '.join(_choices(key))}" for key, what in SETTINGS.items()]
        lines = [textwrap.fill(line, 110, subsequent_indent=" " * 18) for line in settings]
        commands = [f"  {word:16}{what}" for word, (_, what) in COMMANDS.items() if word not in OF_THE_HOUSE]
        commands.append(f"  also, for what comes with the program: {' '.join(OF_THE_HOUSE)}")
        print(USAGE.format(settings="\n".join(lines), commands="\n".join(commands)))
    return 0


def completion(shell: str = "bash") -> str:
    """The text that a shell evaluates to complete sub-commands, keys and their choices."""
    if shell not in ("bash", "zsh"):
        raise UserError(f"--completion {shell}: no such shell; there are: bash, zsh")
    body: dict[str, Any] = yaml.safe_load((CONF / "config.yaml").read_text("utf-8"))
    lists = {key: _choices(key) for key in ("method", "task", "dataset", "prior", "variant", "experiment")}
    lists |= {key: ["true", "false"] for key, value in body.items() if isinstance(value, bool)} | WORDS
    keys = [*lists, *(key for key, value in body.items() if key not in lists and not isinstance(value, dict | list))]
    cases = "\n".join(f'    {key}=*) options="{" ".join(values)}" ;;' for key, values in lists.items())
    words = " ".join(f"{key}=" for key in keys)
    script = SCRIPT.format(choices=cases, keys=words, commands=" ".join(COMMANDS))
    return script if shell == "bash" else f"{ZSH}\n{script}"


def _choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))
