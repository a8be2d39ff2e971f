"""The configuration, checked before anything is computed: a wrong value is named by its key."""

import re
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from inspect import Parameter, signature
from operator import getitem
from types import UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import hydra
import hydra.utils
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from ldsmc_bench.errors import UserError, nearest, nearest_key, one_line
from ldsmc_bench.files import CONF, GROUPS
from ldsmc_bench.guard import unchanged
from ldsmc_bench.problem.datasets import Dataset
from ldsmc_bench.problem.measurement import NOISES
from ldsmc_bench.problem.problem import Problem
from ldsmc_bench.records.record import RunLabels
from ldsmc_bench.sampling.arguments import Count, Natural, NonNegative, Positive

PRECISIONS = {"fp64": torch.float64, "fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", type(None): "null"}
EXACTLY = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
NAME = Annotated[str, Field(pattern=r"\S", description="a word, which YAML reads as one in quotes")]
MOST = 100_000  # of what is laid out one by one, in memory or in folders
FewEnough = Annotated[int, Field(ge=1, le=MOST, description=f"a whole number of at least 1 and at most {MOST}")]
LAUNCH = "attached or detached; hydra/launcher=gpus and hydra/launcher=slurm say where"
KEYS: dict[str, Any] = {  # of every run, with their types
    **dict.fromkeys(("particles", "draws", "steps"), FewEnough),
    **dict.fromkeys(("n_images", "shards"), Count),
    "time_limit": None | Positive,
    "call_limit": None | Count,
    "batch_size": Literal["auto"] | Count,
    **dict.fromkeys(("seed", "shard"), Natural),
    **dict.fromkeys(("results_dir", "device"), str),
    **dict.fromkeys(("compile", "mix_code", "keep_problems", "particles_as_draws", "weighted"), bool),
    "measurement.noise_in_hole": bool,
    "precision": Literal[*PRECISIONS],
    "wandb.mode": Literal["online", "offline", "disabled", "auto"],
    "launch": Annotated[Literal["attached", "detached"], Field(description=LAUNCH)],
    **dict.fromkeys(("method.name", "task.name", "dataset.name", "prior.name"), NAME),
    **dict.fromkeys(("method.sample", "task.operator", "dataset.load", "prior.load", "prior.image_size"), Any),
    "task.noise": Literal[*NOISES],
    "task.noise_std": NonNegative,
    "measurement.poisson_rate": Positive,
    **dict.fromkeys(("variant", "tuned", "tuned_row", "observers"), Any),
}
GLOBAL = ("n_images", "draws", "seed", "batch_size", "shard", "shards", "precision", "compile")  # of Settings too
# Keys that a choice may have besides, which are looked for by name.
OPTIONAL = ["method.version", "method.variants", "method.tuning", "task.tuning", "prior.tuning"]
OPTIONAL += ["task.version", "dataset.task", "dataset.trial", "dataset.bounded", "dataset.attributes"]
SECTIONS = (*GROUPS, "measurement", "wandb")


@dataclass(frozen=True)
class Settings:
    """The global knobs with their types; `method` holds the sampler's arguments, `task` and the rest as configured."""

    config: dict[str, Any]  # resolved, plain values
    sample: dict[str, Any]  # the sampler's arguments
    n_images: int
    draws: int  # of each image
    seed: int
    batch_size: int | Literal["auto"]
    shard: int
    shards: int
    device: torch.device
    precision: str
    compile: bool = False

    @property
    def network_dtype(self) -> torch.dtype:
        """The type that networks compute in; `precision=bf16` leaves all else in float32."""
        return PRECISIONS[self.precision]

    @property
    def dtype(self) -> torch.dtype:
        """The type of states, gradients and measurements."""
        return torch.float64 if self.precision == "fp64" else torch.float32

    @property
    def targets(self) -> tuple[str, str]:
        """The dotted paths of the sampler and of the task's operator."""
        return self.config["method"]["sample"]["_target_"], self.config["task"]["operator"]["_target_"]

    @property
    def labels(self) -> RunLabels:
        """The labels of the run."""
        method, task, dataset = (self.config[key]["name"] for key in ("method", "task", "dataset"))
        steps, particles = (self.sample.get(key, 1) for key in ("steps", "particles"))
        return RunLabels(method, task, dataset, steps, particles, self.seed, self.config["variant"])


def compose(*overrides: str) -> DictConfig:
    """The configuration of one run with these overrides, as the command line composes it."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("config", list(overrides))


@unchanged()  # by the modules that are imported for it
def validate(cfg: DictConfig) -> Settings:
    """The settings of one run. Raises UserError that names the first wrong key and what it may be."""
    config = _resolve(cfg)
    for key, hint in KEYS.items():
        _require(key, reduce(getitem, key.split("."), config), hint)
    if config["shard"] >= (shards := config["shards"]):
        last = f"with shards={shards} the last is {shards - 1}"
        raise UserError(f"shard={config['shard']}: counted from 0, so {last}")
    for section in ("dataset", "prior"):
        _check_arguments(f"{section}.load", config[section]["load"], partial=False)
    sample = _check_arguments("method.sample", config["method"]["sample"], typed=True)
    _check_arguments("task.operator", config["task"]["operator"])
    for name, node in config["observers"].items():
        if node is not None:
            _check_arguments(f"observers.{name}", node)
    if trial := config["dataset"].get("trial"):
        _function("dataset.trial", trial)
        if config["particles_as_draws"]:
            name = config["dataset"]["name"]
            raise UserError(f"particles_as_draws=true: dataset={name} keeps one draw of a run; leave it out, or false")
    for group, part in (("method", "sample"), ("task", "operator")):
        _refuse_borrowed_name(group, part, config[group])
    return Settings(config, sample, **{key: config[key] for key in GLOBAL}, device=_device(config["device"]))


def problem_of(settings: Settings, dataset: Dataset) -> Problem:
    """The problem that a run's configuration describes, on its data set."""
    task = settings.config["task"]
    noise = {"kind": task["noise"], "noise_std": task["noise_std"], **settings.config["measurement"]}
    bounded = settings.config["dataset"].get("bounded", True)
    return Problem(dataset, task["name"], settings.seed, instantiate(task["operator"]), noise, bounded)


@unchanged()
def instantiate(node: dict[str, Any]) -> Any:
    """Instantiate a part of the configuration; a UserError inside comes out as it is."""
    try:
        return hydra.utils.instantiate(node)
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from error
        raise


def _resolve(cfg: DictConfig) -> dict[str, Any]:
    """Plain values, with every key that all runs read and none that nothing reads."""
    try:
        plain = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=False))
        _require_keys(plain)
        _refuse_unread(plain)
        with open_dict(cfg):
            for group in ("prior", "task"):  # a user's own may have no part in conf/tuned
                cfg[group].setdefault("tuning", None)
        name, variants = str(cfg.variant), [str(one) for one in cfg.method.get("variants", ["default"])]
        if name not in variants:
            raise UserError(f"variant={name}: {cfg.method.name} has no such variant; {nearest(name, variants)}")
        if cfg.weighted is True:
            weigh(cfg)
        measured_by = cfg.dataset.get("task", cfg.task.name)
        if cfg.task.name not in (able := [measured_by] if isinstance(measured_by, str) else list(measured_by)):
            raise UserError(
                f"task={cfg.task.name}: dataset={cfg.dataset.name} is measured by task={' or '.join(able)} alone"
            )
        return cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    except OmegaConfBaseException as error:
        if untuned := re.search(r"\btuned\.(\w+)", str(error)):
            tables = ", ".join(cfg.method.get("tuning", {})) or "none"
            raise UserError(
                f"{error.full_key}: conf/tuned has no {untuned[1]} of {cfg.method.name} for prior.tuning="
                f"{cfg.prior.tuning}, task.tuning={cfg.task.tuning}; give a value, or another prior.tuning: {tables}"
            ) from error
        raise UserError(one_line(error)) from error


def weigh(cfg: DictConfig) -> None:
    """Replace, in the method, what its section `weighted` has. Raises UserError for a method without one."""
    if "weighted" not in cfg.method:
        able = [file.stem for file in (CONF / "method").glob("*.yaml") if "weighted" in OmegaConf.load(file)]
        raise UserError(f"weighted=true: {cfg.method.name} has no form with weights; {nearest('', able)}")
    with open_dict(cfg):
        cfg.method = OmegaConf.merge(cfg.method, cfg.method.weighted)


def _require_keys(config: Mapping[str, Any]) -> None:
    choices = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    for path, hint in KEYS.items():
        section, _, key = path.rpartition(".")
        keys = config.get(section) if section else config
        if keys and not isinstance(keys, dict):
            raise UserError(f"{section}={keys}: this is a section; set a key in it, {section}.<key>=<value>")
        if not keys or key not in keys:
            empty = not keys and (section in GROUPS or section not in config)
            absent, file = section if empty else path, f"{section}/{choices.get(section)}.yaml"
            remedy = f"leave ~{absent} out of the command, or add it to its YAML file"
            if choices.get(section):
                remedy = f"add it to {file}" if keys else f"{file} is empty"
            raise UserError(f"{absent} is missing: {remedy}")
        if key == "name":
            _require(path, keys[key], hint)


def _refuse_unread(config: Mapping[str, Any]) -> None:
    """Refuse keys that nothing reads. A choice may have some of its own, but for those that `+dataset.key=1` adds."""
    keys = [*config, *(f"{section}.{key}" for section in ("measurement", "wandb") for key in config[section])]
    referred = re.findall(r"\$\{(?:oc\.select:)?([\w.]+)", str(config))
    overrides = HydraConfig.get().overrides.task if HydraConfig.initialized() else OmegaConf.create([])
    plain = cast(list[str], OmegaConf.to_container(overrides, resolve=False))
    added = [re.match(rf"\++((?:{'|'.join(GROUPS)})\.\w+)=", override) for override in plain]
    known = {*KEYS, *OPTIONAL, *SECTIONS}
    for key in [*keys, *(one[1] for one in added if one and one[1] not in referred)]:
        if key not in known:
            own = {f"{group}.{name}" for group in GROUPS for name in config[group]}
            raise UserError(f"{key}: no such key; {nearest_key(key, known | own - {key})}")


def _refuse_borrowed_name(group: str, part: str, choice: dict[str, Any]) -> None:
    """A run is known by its method's and its task's names: no other function may take that of one that is here."""
    own = CONF / group / f"{choice['name']}.yaml"
    target = choice[part]["_target_"]
    if own.is_file() and OmegaConf.select(OmegaConf.load(own), f"{part}._target_") != target:
        raise UserError(
            f"{group}.{part}._target_={target}: this is not {group} {choice['name']}, whose runs would take its "
            f"results; give it a name of its own with {group}.name=..."
        )


def _check_arguments(section: str, node: Any, *, partial: bool = True, typed: bool = False) -> dict[str, Any]:
    """The arguments that a section gives to the function it names: no more and no fewer than that takes, and where
    they are `typed`, of the types that it annotates.

    The function of a `partial` one is called by the run, with further arguments.
    """
    if not isinstance(node, dict):
        raise UserError(f"{section}={node}: this is a section; set a key in it, {section}.<key>=<value>")
    if not isinstance(target := node.get("_target_"), str):
        raise UserError(f"{section}._target_={target}: must name a function, as module.function")
    if bool(node.get("_partial_")) != partial:
        remedy = "write _partial_: true" if partial else "leave _partial_ out"
        raise UserError(f"{section}._partial_={node.get('_partial_')}: {remedy} below _target_: {target}")
    function = _function(f"{section}._target_", target)
    try:
        others = {"POSITIONAL_ONLY", "VAR_POSITIONAL"}  # which a configuration does not set
        others |= {"POSITIONAL_OR_KEYWORD", "VAR_KEYWORD"} if partial else set()
        expected = {name: p for name, p in signature(function).parameters.items() if p.kind.name not in others}
        hints = get_type_hints(function, include_extras=True) if typed else {}
    except Exception as error:
        raise UserError(f"{section}._target_={target}: its arguments cannot be read ({one_line(error)})") from error
    given = {key: value for key, value in node.items() if not key.startswith("_")}
    open_ended = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in expected.values())
    for key in given:
        if key not in expected and not open_ended:
            raise UserError(f"{section}.{key}: {target} takes no such argument; {nearest(key, expected)}")
    for key, parameter in expected.items():
        if key not in given and parameter.default is parameter.empty and not open_ended:
            raise UserError(f"{section}.{key} is missing: {target} needs it")
    for key, value in given.items():
        if key in hints:
            _require(f"{section}.{key}", value, hints[key])
    return given


def _function(key: str, target: str) -> Any:
    """The function that a key names. Raises UserError with the place of a mistake in its module."""
    try:
        return get_object(target)
    except (Exception, SystemExit) as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        if where := _place(cause):
            said = getattr(cause, "msg", cause)  # of a SyntaxError, without the place
            raise UserError(f"{key}={target}: {where}: {type(cause).__name__}: {said}") from error
        line = f"{key}={target}: no such function ({one_line(cause)}); it is looked for from this folder"
        raise UserError(line) from error


def _place(error: BaseException) -> str | None:
    """File and line of a mistake in the user's code."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}"
    others = (sys.prefix, sys.base_prefix, "<frozen", __file__)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(others)]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None


def _require(key: str, value: object, hint: Any) -> None:
    """Raise UserError, with the words of the type, unless the value is of it, finite where it is a number."""
    try:
        TypeAdapter(hint, config=EXACTLY).validate_python(value)
    except ValidationError as error:
        raise UserError(f"{key}={value}: must be {_words(hint, error)}") from error
    except PydanticUserError as error:
        raise UserError(f"{key}: its annotation {hint} cannot be checked ({error.message})") from error


def _words(hint: Any, error: ValidationError) -> str:
    """A type in words: the description in an `Annotated`, or what pydantic makes of it."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        described = [mark.description for mark in parts[1:] if getattr(mark, "description", None)]
        return described[0] if described else f"{_words(parts[0], error)} ({error.errors()[0]['msg'].lower()})"
    if origin in (Union, UnionType, Literal):
        return " or ".join(str(part) if origin is Literal else _words(part, error) for part in parts)
    return WORDS.get(hint, str(hint))


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.ones(1, device=device).item()  # the device `meta` has no numbers
    except (RuntimeError, AssertionError, ImportError, ValueError) as error:
        why = str(error).splitlines()[0].split(". ")[0]
        raise UserError(f"device={name}: not available here ({why}); try device=auto") from error
    return device
