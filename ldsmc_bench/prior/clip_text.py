"""The text encoder of CLIP ViT-L/14, which Stable Diffusion v1 is conditioned on; layers are named as in its files.

Architecture: Radford et al. 2021, "Learning transferable visual models from natural language supervision", section 2.4.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ldsmc_bench.prior.transplant import Origin


@dataclass(frozen=True)
class TextShape:
    """What the weights of a text encoder do not say themselves."""

    width: int = 768
    layers: int = 12
    heads: int = 12
    vocabulary: int = 49408
    tokens: int = 77  # of every prompt


def origins(shape: TextShape, prefix: str) -> dict[str, Origin]:
    """Origin of each parameter of `TextEncoder(shape)` in a file where the text model's keys begin with `prefix`."""
    with torch.device("meta"):
        return {key: Origin(prefix + key) for key in TextEncoder(shape).state_dict()}


class TextEncoder(nn.Module):
    """Prompts as tokens (B,L) to the states of the last layer (B,L,D), after the final norm."""

    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.embeddings = nn.ModuleDict(
            {
                "token_embedding": nn.Embedding(shape.vocabulary, shape.width),
                "position_embedding": nn.Embedding(shape.tokens, shape.width),
            }
        )
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(_Layer(shape) for _ in range(shape.layers))})
        self.final_layer_norm = nn.LayerNorm(shape.width)

    def forward(self, tokens: Tensor) -> Tensor:
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.embeddings["token_embedding"](tokens) + self.embeddings["position_embedding"](places)
        for layer in self.encoder["layers"].children():
            x = layer(x)
        return self.final_layer_norm(x)


class _Layer(nn.Module):
    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.self_attn = _Attention(shape)
        self.layer_norm1 = nn.LayerNorm(shape.width)
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(shape.width, 4 * shape.width), "fc2": nn.Linear(4 * shape.width, shape.width)}
        )
        self.layer_norm2 = nn.LayerNorm(shape.width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        hidden = self.mlp["fc1"](self.layer_norm2(x))
        return x + self.mlp["fc2"](hidden * torch.sigmoid(1.702 * hidden))  # CLIP's fast GELU


class _Attention(nn.Module):
    """No token looks at a later one, as in training."""

    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(shape.width, shape.width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.q_proj, self.k_proj, self.v_proj)
        )
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(attended.transpose(1, 2).flatten(-2))
