"""The text encoder of CLIP ViT-L/14, which Stable Diffusion v1 is conditioned on, and the tokens of a prompt.

The encoder is our own, since the empty prompt, the default, must work without the package `transformers`; any other
prompt is tokenized by that package. Layers have the names of the published files.

References: Radford et al. 2021, "Learning transferable visual models from natural language supervision", section 2.4.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ldsmc_bench.checkpoints.convert import Shape
from ldsmc_bench.errors import UserError

TOKENS = 77
START, END = 49406, 49407
EMPTY = (START, *[END] * (TOKENS - 1))


def tokenize(prompt: str, folder: Path) -> tuple[int, ...]:
    """The 77 tokens of a prompt: start, its words in lower case, and the end token, which also fills up.

    vocab.json and merges.txt are in `folder` or in tokenizer/ there; the empty prompt needs neither. Raises UserError
    where they or the package `transformers` are absent or do not serve, or for more than 75 tokens.
    """
    if not prompt.strip():
        return EMPTY
    try:
        from transformers import CLIPTokenizer
    except ImportError as error:
        raise UserError(
            "prior.prompt: words need the package transformers; install it (pip install 'ldsmc_bench[text]') or leave "
            "the prompt empty"
        ) from error
    where = folder / "tokenizer" if (folder / "tokenizer").is_dir() else folder
    try:
        if not all((where / name).is_file() for name in ("vocab.json", "merges.txt")):
            raise FileNotFoundError("no such files")  # nothing is to be looked for elsewhere
        tokenizer = CLIPTokenizer.from_pretrained(where, local_files_only=True)
        tokens = tokenizer(prompt, add_special_tokens=False, verbose=False).input_ids
        if tokenizer.unk_token_id in tokens:
            raise ValueError("a symbol is missing")
    except Exception as error:  # whatever a library raises for files that others wrote
        raise UserError(
            f"{where}: vocab.json and merges.txt there do not encode prior.prompt ({' '.join(str(error).split())}); "
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

    def build(self) -> "TextEncoder":
        return TextEncoder(self)


class TextEncoder(nn.Module):
    """Prompts as tokens (B,L) to the states of the last layer (B,L,D), after the final norm."""

    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        sizes = {"token_embedding": shape.vocabulary, "position_embedding": shape.tokens}
        self.embeddings = nn.ModuleDict({name: nn.Embedding(rows, shape.width) for name, rows in sizes.items()})
        self.encoder = nn.ModuleDict({"layers": nn.Sequential(*(_Layer(shape) for _ in range(shape.layers)))})
        self.final_layer_norm = nn.LayerNorm(shape.width)

    def forward(self, tokens: Tensor) -> Tensor:
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.embeddings["token_embedding"](tokens) + self.embeddings["position_embedding"](positions)
        return self.final_layer_norm(self.encoder["layers"](x))


class _Layer(nn.Module):
    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        width, self.heads = shape.width, shape.heads
        self.self_attn = nn.ModuleDict({f"{name}_proj": nn.Linear(width, width) for name in ("q", "k", "v", "out")})
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})

    def forward(self, x: Tensor) -> Tensor:
        normed = self.layer_norm1(x)
        q, k, v = (
            self.self_attn[f"{name}_proj"](normed).unflatten(-1, (self.heads, -1)).transpose(1, 2) for name in "qkv"
        )
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # no token looks at a later one
        x = x + self.self_attn["out_proj"](attended.transpose(1, 2).flatten(-2))
        hidden = self.mlp["fc1"](self.layer_norm2(x))
        return x + self.mlp["fc2"](hidden * torch.sigmoid(1.702 * hidden))  # CLIP's fast GELU
