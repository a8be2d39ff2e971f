"""The configuration, checked before anything is computed: a wrong value is named by its key."""

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import torch
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ldsmc_bench.composition import CONF, nearest, nearest_key, one_line
from ldsmc_bench.errors import UserError
from ldsmc_bench.problem.measurement import NOISES
from ldsmc_bench.sampling.arguments import Between, Positive

PRECISIONS = {"fp64": torch.float64, "fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", type(None): "null"}
GROUPS = ("method", "task", "dataset", "prior")
MODES = ("online", "offline", "disabled")


@dataclass(frozen=True)
class Settings:
    """The global knobs with their types; `method` holds the sampler's arguments, `task` and the rest as configured."""

    config: dict[str, Any]  # resolved, plain values
    sample: dict[str, Any]  # the sampler's arguments
    n_images: int
    seed: int
    batch_size: int | Literal["auto"]
    shard: int
    shards: int
    device: torch.device
    precision: str
    compile: bool = False

    @property
    def network_dtype(self) -> torch.dtype:
        """What the networks compute in; `precision=bf16` leaves all else in float32."""
        return PRECISIONS[self.precision]

    @property
    def dtype(self) -> torch.dtype:
        """What states, gradients and measurements are kept in."""
        return torch.float64 if self.precision == "fp64" else torch.float32

    @property
    def labels(self) -> dict[str, Any]:
        """What a reader of a record wants to know of its run."""
        return {
            **{key: self.config[key]["name"] for key in ("method", "task", "dataset")},
            "seed": self.seed,
            "steps": self.sample.get("steps", 1),
            "particles": self.sample.get("particles", 1),
        }


def checked(cfg: DictConfig) -> Settings:
    """The settings of one run. Raises UserError that names the first wrong key and what it may be."""
    config = _resolved(cfg)
    _refuse_unknown(config)
    for key in ("particles", "steps", "n_images", "shards"):
        _require(key, config[key], Annotated[int, Between(1)])
    _require("batch_size", config["batch_size"], Literal["auto"] | Annotated[int, Between(1)])
    _require("compile", config["compile"], bool)
    for key in ("seed", "shard"):
        _require(key, config[key], Annotated[int, Between(0)])
    if config["shard"] >= config["shards"]:
        last = config["shards"] - 1
        raise UserError(
            f"shard={config['shard']}: counted from 0, so with shards={config['shards']} the last is {last}"
        )
    for key in ("results_dir", "device"):
        _require(key, config[key], str)
    _require("precision", config["precision"], Literal[*PRECISIONS])
    _require("wandb.mode", config["wandb"]["mode"], Literal[*MODES])
    _require("task.noise_std", config["task"]["noise_std"], Annotated[float, Between(0)])
    _require("task.noise", config["task"]["noise"], Literal[*NOISES])
    _require("measurement.noise_in_hole", config["measurement"]["noise_in_hole"], bool)
    _require("launch", config["launch"], Literal["attached", "detached"])
    _require("mix_code", config["mix_code"], bool)
    _require("measurement.poisson_rate", config["measurement"]["poisson_rate"], Positive)
    sample = _check_arguments("method.sample", config["method"]["sample"])
    hints = get_type_hints(get_object(config["method"]["sample"]["_target_"]), include_extras=True)
    for key, value in sample.items():
        if key in hints:
            _require(f"method.sample.{key}", value, hints[key])
    _check_arguments("task.operator", config["task"]["operator"])
    return Settings(
        config=config,
        sample=sample,
        **{key: config[key] for key in ("n_images", "seed", "batch_size", "shard", "shards", "precision", "compile")},
        device=_device(config["device"]),
    )


def made(node: dict[str, Any]) -> Any:
    """Instantiate a part of the configuration; a UserError inside comes out as it is."""
    try:
        return instantiate(node)
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from error
        raise


def keywords(sample: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The keyword-only arguments of a sampler: what its configuration sets."""
    return {name: p for name, p in inspect.signature(sample).parameters.items() if p.kind is p.KEYWORD_ONLY}


def telling(sample: dict[str, Any]) -> dict[str, Any]:
    """A sampler's section as it names a run: without the arguments that stand at the function's own default, so that a
    sampler may learn a choice and all that it computed before keeps its name."""
    taken = keywords(get_object(sample["_target_"]))
    return {key: value for key, value in sample.items() if key not in taken or value != taken[key].default}


def _refuse_unknown(config: dict[str, Any]) -> None:
    """Keys that `+key=value` added and nothing reads; methods, tasks and so on may have keys of their own."""
    known = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(CONF / "config.yaml"), resolve=False))
    sections = {"": [*known, *GROUPS], **{f"{key}.": list(known[key]) for key in ("measurement", "wandb")}}
    for prefix, keys in sections.items():
        for key in config[prefix[:-1]] if prefix else config:
            if key not in keys:
                raise UserError(f"{prefix}{key}: no such key; {nearest_key(key, keys)}")


def _resolved(cfg: DictConfig) -> dict[str, Any]:
    """Plain values, whole sections where there should be sections."""
    try:
        for key in (*GROUPS, "measurement", "wandb"):
            if not isinstance(cfg[key], DictConfig):
                raise UserError(f"{key}={cfg[key]}: this is a section; set a key in it, {key}.<key>=<value>")
        variants = list(cfg.method.get("variants", ["default"]))
        if cfg.variant not in variants:
            raise UserError(
                f"variant={cfg.variant}: {cfg.method.name} has no such variant; {nearest(str(cfg.variant), variants)}"
            )
        if cfg.task.name != (measured_by := cfg.dataset.get("task", cfg.task.name)):
            raise UserError(f"task={cfg.task.name}: dataset={cfg.dataset.name} is measured by task={measured_by} alone")
        return cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    except OmegaConfBaseException as error:
        raise UserError(one_line(error)) from error


def _check_arguments(section: str, node: Any) -> dict[str, Any]:
    """The arguments that a section gives to the function it names: no more and no fewer than that takes."""
    if not isinstance(node, dict) or not isinstance(target := node.get("_target_"), str):
        raise UserError(f"{section}={node}: this is a section; set a key in it, {section}.<key>=<value>")
    try:
        expected = keywords(get_object(target))
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise UserError(f"{section}._target_={target}: no such function ({one_line(error)})") from error
    given = {key: value for key, value in node.items() if not key.startswith("_")}
    for key in given:
        if key not in expected:
            close = difflib.get_close_matches(key, expected, n=1, cutoff=0.75)
            near = f"did you mean {section}.{close[0]}?" if close else f"there are: {', '.join(expected) or 'none'}"
            raise UserError(f"{section}.{key}: {target} takes no such argument; {near}")
    for key, parameter in expected.items():
        if key not in given and parameter.default is parameter.empty:
            raise UserError(f"{section}.{key} is missing: {target} needs it")
    return given


def _require(key: str, value: object, hint: Any) -> None:
    if not _fits(value, hint):
        raise UserError(f"{key}={value}: must be {_words(hint)}")


def _fits(value: object, hint: Any) -> bool:
    origin = get_origin(hint)
    if origin is Annotated:
        base, *limits = get_args(hint)
        return _fits(value, base) and all(limit.holds(value) for limit in limits)
    if origin is Literal:
        return value in get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if hint is bool or isinstance(value, bool):
        return hint is bool and isinstance(value, bool)
    return isinstance(value, int | float) if hint is float else isinstance(value, hint)


def _words(hint: Any) -> str:
    origin = get_origin(hint)
    if origin is Annotated:
        base, *limits = get_args(hint)
        return f"{_words(base)} {' and '.join(str(limit) for limit in limits)}"
    if origin is Literal:
        return " or ".join(map(str, get_args(hint)))
    if origin in (Union, UnionType):
        return " or ".join(_words(part) for part in get_args(hint))
    return WORDS.get(hint, str(hint))


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device={name}: not available here ({str(error).splitlines()[0]}); try device=auto") from error
    return device
