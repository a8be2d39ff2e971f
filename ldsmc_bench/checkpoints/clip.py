"""CLIP ViT-L/14's text encoder and tokens, which Stable Diffusion v1 is conditioned on, by the package `transformers`.

References: Radford et al. 2021, "Learning transferable visual models from natural language supervision", section 2.4.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ldsmc_bench.checkpoints.convert import Shape
from ldsmc_bench.errors import UserError, one_line

TOKENS = 77
START, END = 49406, 49407
EMPTY = (START, *[END] * (TOKENS - 1))


def require_transformers() -> Any:
    """The package that has CLIP. Raises UserError where it is absent."""
    try:
        import transformers
    except ImportError as error:
        raise UserError(
            "prior: a model of texts needs the package transformers; in the checkout, pip install '.[text]'"
        ) from error
    return transformers


def require_text(prompt: object) -> None:
    """Raises UserError for a prompt that YAML reads as a number, a list or nothing."""
    if not isinstance(prompt, str):
        raise UserError(f'prior.prompt={prompt}: is no text; put it in quotes, \'prior.prompt="a cat"\', "" for none')


def tokenize(prompt: str, folder: Path) -> tuple[int, ...]:
    """The 77 tokens of a prompt: start, its words in lower case, and the end token, which also fills up.

    vocab.json and merges.txt are in `folder` or in tokenizer/ there; the empty prompt needs neither. Raises UserError
    where they or the package `transformers` are absent or do not serve, or for more than 75 tokens.
    """
    require_text(prompt)
    transformers = require_transformers()
    if not prompt.strip():
        return EMPTY
    where = folder / "tokenizer" if (folder / "tokenizer").is_dir() else folder
    try:
        if not all((where / name).is_file() for name in ("vocab.json", "merges.txt")):
            raise FileNotFoundError("no such files")  # nothing is to be looked for elsewhere
        tokenizer = transformers.CLIPTokenizer.from_pretrained(where, local_files_only=True)
        tokens = tokenizer(prompt, add_special_tokens=False, verbose=False).input_ids
        if tokenizer.unk_token_id in tokens:
            raise ValueError("a symbol is missing")
    except Exception as error:  # whatever a library raises for files that others wrote
        raise UserError(
            f"{where}: vocab.json and merges.txt there do not encode prior.prompt ({one_line(error)}); "
            "put those of CLIP ViT-L/14 there or leave the prompt empty"
        ) from error
    if len(tokens) > TOKENS - 2:
        raise UserError(f"prior.prompt: has {len(tokens)} tokens, and the model takes {TOKENS - 2}; shorten it")
    return (START, *tokens, *[END] * (TOKENS - 1 - len(tokens)))


@dataclass(frozen=True)
class TextShape(Shape):
    width: int = 768
    layers: int = 12
    heads: int = 12
    vocabulary: int = 49408
    tokens: int = TOKENS  # of every prompt

    def build(self) -> Any:
        transformers = require_transformers()
        config = transformers.CLIPTextConfig(
            hidden_size=self.width,
            intermediate_size=4 * self.width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            vocab_size=self.vocabulary,
            max_position_embeddings=self.tokens,
            hidden_act="quick_gelu",
        )
        return transformers.CLIPTextModel(config)
