"""Texts as the conditions of diffusers' pipelines, by the tokenizers and text encoders in their folders."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import Tensor, nn

from ldsmc_bench.checkpoints.clip import require_transformers
from ldsmc_bench.checkpoints.diffusers_folder import find_weights, require_weights
from ldsmc_bench.errors import UserError, one_line

ENCODERS = ("CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel")
TOKENIZERS = ("CLIPTokenizer", "CLIPTokenizerFast", "T5Tokenizer", "T5TokenizerFast")
_TEXT, _POOLED = "encoder_hidden_states", "pooled_projections"


def encode(
    folder: Path, index: Mapping[str, Any], prompt: str, denoiser: nn.Module
) -> tuple[dict[str, Tensor], dict[str, Tensor], list[Path]]:
    """The conditions (1,L,D), (1,D) of a prompt and of none, as the pipeline's own `encode_prompt` makes them, and the
    files of the encoders' weights. `index` is model_index.json; of FLUX there is no condition of none. `denoiser` may
    be without weights.

    Raises UserError where `transformers` or a file is absent, or does not serve.
    """
    parts, files = _text_parts(folder, index)
    kind = getattr(diffusers, name := index["_class_name"])
    taken = inspect.signature(kind).parameters
    settings = {key: value for key, value in index.items() if key in taken and not isinstance(value, list)}
    absent: dict[str, Any] = dict.fromkeys(key for key, one in taken.items() if one.default is one.empty)
    quiet = {key: False for key in ("requires_safety_checker", "add_watermarker") if key in taken}
    part = "unet" if "unet" in taken else "transformer"
    try:
        pipeline: Any = kind(**absent | settings | quiet | parts | {part: denoiser})
        if name == "StableDiffusionPipeline":
            bound, free = pipeline.encode_prompt(prompt, "cpu", 1, True)
            return {_TEXT: bound}, {_TEXT: free}, files
        if name == "FluxPipeline":
            bound, pooled, _ = pipeline.encode_prompt(prompt, device="cpu")
            return {_TEXT: bound, _POOLED: pooled}, {}, files
        texts = dict.fromkeys([key for key in ("prompt", "prompt_2", "prompt_3") if key in _arguments(pipeline)])
        bound, free, *both = pipeline.encode_prompt(**texts | {"prompt": prompt}, device="cpu")
        key = "text_embeds" if name == "StableDiffusionXLPipeline" else _POOLED
        return {_TEXT: bound, key: both[0]}, {_TEXT: free, key: both[1]}, files
    except Exception as error:  # whatever a library raises for files that others wrote
        raise UserError(f"{folder}: its text encoders do not encode prior.prompt ({one_line(error)[:200]})") from error


def _arguments(pipeline: Any) -> Mapping[str, Any]:
    return inspect.signature(pipeline.encode_prompt).parameters


def _text_parts(folder: Path, index: Mapping[str, Any]) -> tuple[dict[str, Any], list[Path]]:
    """Tokenizers and text encoders by their names in the index, frozen, and the files of their weights."""
    transformers = require_transformers()
    bar = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    parts: dict[str, Any] = {}
    files: list[Path] = []
    try:
        for part, entry in index.items():
            if not part.startswith(("text_encoder", "tokenizer")) or entry in (None, [None, None]):
                continue
            kind = entry[1] if isinstance(entry, list) and len(entry) == 2 else entry
            known = TOKENIZERS if part.startswith("tokenizer") else ENCODERS
            if kind not in known:
                raise UserError(
                    f"{folder / 'model_index.json'}: {part} is {kind}, but this loader reads {' or '.join(known)} only"
                )
            if part.startswith("tokenizer"):
                parts[part] = _load(getattr(transformers, kind), folder / part)
            else:
                file, variant = find_weights(folder / part)
                files += require_weights(file)
                how = {"variant": variant or None, "use_safetensors": ".safetensors" in file.name}
                loaded, found = _load(getattr(transformers, kind), folder / part, **how, output_loading_info=True)
                if lacking := sorted(found["missing_keys"]):
                    raise UserError(f"{file}: missing key {lacking[0]}; the file and its config do not go together")
                parts[part] = loaded.requires_grad_(False).eval()
    finally:
        if bar:
            transformers.utils.logging.enable_progress_bar()
    return parts, files


def _load(kind: Any, folder: Path, **how: Any) -> Any:
    if how:
        how["dtype"] = torch.float32
    try:
        return kind.from_pretrained(folder, local_files_only=True, **how)
    except Exception as error:  # whatever a library raises for files that others wrote
        raise UserError(f"{folder}: transformers cannot read it ({one_line(error)[:200]}); fetch it anew") from error
