"""The networks of CompVis' conditional models in plain torch, written from the papers: what the loaders must reproduce.

Nothing of the package or of diffusers is used. Modules are named so that their keys are those of the original files.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """(B,n,C), (B,m,C), (B,m,C) to (B,n,C): heads are consecutive groups of channels."""
    q, k, v = (x.reshape(*x.shape[:2], heads, -1) for x in (q, k, v))
    scores = torch.einsum("bnhc,bmhc->bhnm", q, k) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask, -math.inf)
    return torch.einsum("bhnm,bmhc->bnhc", scores.softmax(-1), v).flatten(2)


class Sequence(nn.ModuleList):
    """Modules by number, some of which only keep a number free."""

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__(modules)


# --- the UNet ---------------------------------------------------------------------------------------------------------


class ResBlock(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, time: int) -> None:
        super().__init__()
        same = channels_in == channels_out
        self.in_layers = Sequence(
            nn.GroupNorm(32, channels_in), nn.Identity(), nn.Conv2d(channels_in, channels_out, 3, padding=1)
        )
        self.emb_layers = Sequence(nn.Identity(), nn.Linear(time, channels_out))
        self.out_layers = Sequence(
            nn.GroupNorm(32, channels_out),
            nn.Identity(),
            nn.Identity(),
            nn.Conv2d(channels_out, channels_out, 3, padding=1),
        )
        self.skip_connection = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor, time: Tensor, context: Tensor) -> Tensor:
        h = self.in_layers[2](F.silu(self.in_layers[0](x)))
        h = h + self.emb_layers[1](F.silu(time))[:, :, None, None]
        return self.skip_connection(x) + self.out_layers[3](F.silu(self.out_layers[0](h)))


class CrossAttention(nn.Module):
    def __init__(self, channels: int, context: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(context, channels, bias=False)
        self.to_v = nn.Linear(context, channels, bias=False)
        self.to_out = Sequence(nn.Linear(channels, channels))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return self.to_out[0](softmax_attention(self.to_q(x), self.to_k(context), self.to_v(context), self.heads))


class Gated(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.proj = nn.Linear(channels, 2 * hidden)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * 0.5 * gate * (1 + torch.erf(gate / math.sqrt(2)))


class FeedForward(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.net = Sequence(Gated(channels, 4 * channels), nn.Identity(), nn.Linear(4 * channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.net[2](self.net[0](x))


class TransformerBlock(nn.Module):
    def __init__(self, channels: int, context: int, heads: int) -> None:
        super().__init__()
        self.attn1 = CrossAttention(channels, channels, heads)
        self.attn2 = CrossAttention(channels, context, heads)
        self.ff = FeedForward(channels)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        own = self.norm1(x)
        x = x + self.attn1(own, own)
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    def __init__(self, channels: int, context: int, heads: int, depth: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, channels, eps=1e-6)
        self.proj_in = nn.Conv2d(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList(TransformerBlock(channels, context, heads) for _ in range(depth))
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, time: Tensor, context: Tensor) -> Tensor:
        h = self.proj_in(self.norm(x))
        tokens = h.flatten(2).transpose(1, 2)
        for block in self.transformer_blocks:
            tokens = block(tokens, context)
        return x + self.proj_out(tokens.transpose(1, 2).reshape(h.shape))


class Downsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor, time: Tensor, context: Tensor) -> Tensor:
        return self.op(x)


class Upsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, time: Tensor, context: Tensor) -> Tensor:
        return self.conv(x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))


class Entry(nn.Conv2d):
    def forward(self, x: Tensor, time: Tensor, context: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x)


class UNet(nn.Module):
    """`heads`: how many attention has in a block of so many channels."""

    def __init__(
        self,
        channels: int,
        width: int,
        mult: tuple,
        res_blocks: int,
        attention_at: tuple,
        heads: Callable[[int], int],
        depth: int,
        context: int,
    ) -> None:
        super().__init__()
        time = 4 * width
        self.width = width
        self.time_embed = Sequence(nn.Linear(width, time), nn.Identity(), nn.Linear(time, time))

        def attention(c: int) -> SpatialTransformer:
            return SpatialTransformer(c, context, heads(c), depth)

        blocks, skips, c = [Sequence(Entry(channels, width, 3, padding=1))], [width], width
        for level, m in enumerate(mult):
            for _ in range(res_blocks):
                parts = [ResBlock(c, m * width, time)]
                c = m * width
                if 2**level in attention_at:
                    parts.append(attention(c))
                blocks.append(Sequence(*parts))
                skips.append(c)
            if level < len(mult) - 1:
                blocks.append(Sequence(Downsample(c)))
                skips.append(c)
        self.input_blocks = nn.ModuleList(blocks)
        self.middle_block = Sequence(ResBlock(c, c, time), attention(c), ResBlock(c, c, time))
        blocks = []
        for level in range(len(mult) - 1, -1, -1):
            for i in range(res_blocks + 1):
                parts = [ResBlock(c + skips.pop(), mult[level] * width, time)]
                c = mult[level] * width
                if 2**level in attention_at:
                    parts.append(attention(c))
                if level > 0 and i == res_blocks:
                    parts.append(Upsample(c))
                blocks.append(Sequence(*parts))
        self.output_blocks = nn.ModuleList(blocks)
        self.out = Sequence(nn.GroupNorm(32, c), nn.Identity(), nn.Conv2d(c, channels, 3, padding=1))

    def forward(self, z: Tensor, t: Tensor, context: Tensor) -> Tensor:
        half = self.width // 2
        angles = t[:, None] * 10000.0 ** (-torch.arange(half) / half)
        time = self.time_embed[0](torch.cat([angles.cos(), angles.sin()], dim=1))
        time = self.time_embed[2](F.silu(time))
        kept = []
        for block in self.input_blocks:
            for part in block:
                z = part(z, time, context)
            kept.append(z)
        for part in self.middle_block:
            z = part(z, time, context)
        for block in self.output_blocks:
            z = torch.cat([z, kept.pop()], dim=1)
            for part in block:
                z = part(z, time, context)
        return self.out[2](F.silu(self.out[0](z)))


# --- the first stages -------------------------------------------------------------------------------------------------


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels, eps=1e-6)


class Residual(nn.Module):
    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(channels_in), nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.norm2, self.conv2 = norm(channels_out), nn.Conv2d(channels_out, channels_out, 3, padding=1)
        if channels_in != channels_out:
            self.nin_shortcut = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class PixelAttention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (part(h).flatten(2).transpose(1, 2) for part in (self.q, self.k, self.v))
        return x + self.proj_out(softmax_attention(q, k, v, heads=1).transpose(1, 2).reshape(x.shape))


def middle(channels: int) -> nn.ModuleDict:
    parts = {"block_1": Residual(channels, channels), "attn_1": PixelAttention(channels)}
    return nn.ModuleDict({**parts, "block_2": Residual(channels, channels)})


def level_of(blocks: list[nn.Module], **resampling: nn.Module) -> nn.ModuleDict:
    return nn.ModuleDict({"block": nn.ModuleList(blocks), **resampling})


class Encoder(nn.Module):
    def __init__(self, width: int, mult: tuple, res_blocks: int, channels_out: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, width, 3, padding=1)
        c, levels = width, []
        for level, m in enumerate(mult):
            blocks: list[nn.Module] = [Residual(c if i == 0 else m * width, m * width) for i in range(res_blocks)]
            c = m * width
            down = {"downsample": nn.ModuleDict({"conv": nn.Conv2d(c, c, 3, stride=2)})}
            levels.append(level_of(blocks, **(down if level < len(mult) - 1 else {})))
        self.down, self.mid = nn.ModuleList(levels), middle(c)
        self.norm_out, self.conv_out = norm(c), nn.Conv2d(c, channels_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(x)
        for level in self.down:
            for block in level["block"]:
                h = block(h)
            if "downsample" in level:
                h = level["downsample"]["conv"](F.pad(h, (0, 1, 0, 1)))
        for part in self.mid.values():
            h = part(h)
        return self.conv_out(F.silu(self.norm_out(h)))


class Decoder(nn.Module):
    def __init__(self, width: int, mult: tuple, res_blocks: int, channels_in: int) -> None:
        super().__init__()
        c, levels = width * mult[-1], []
        self.conv_in, self.mid = nn.Conv2d(channels_in, c, 3, padding=1), middle(c)
        for level in range(len(mult) - 1, -1, -1):
            wide = mult[level] * width
            blocks: list[nn.Module] = [Residual(c if i == 0 else wide, wide) for i in range(res_blocks + 1)]
            c = wide
            up = {"upsample": nn.ModuleDict({"conv": nn.Conv2d(c, c, 3, padding=1)})}
            levels.insert(0, level_of(blocks, **(up if level > 0 else {})))
        self.up = nn.ModuleList(levels)
        self.norm_out, self.conv_out = norm(c), nn.Conv2d(c, 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.conv_in(z)
        for part in self.mid.values():
            h = part(h)
        for level in reversed(self.up):
            for block in level["block"]:
                h = block(h)
            if "upsample" in level:
                h = level["upsample"]["conv"](h.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))
        return self.conv_out(F.silu(self.norm_out(h)))


class KlStage(nn.Module):
    def __init__(self, width: int, mult: tuple, res_blocks: int, channels: int) -> None:
        super().__init__()
        self.encoder = Encoder(width, mult, res_blocks, 2 * channels)
        self.decoder = Decoder(width, mult, res_blocks, channels)
        self.quant_conv, self.post_quant_conv = (
            nn.Conv2d(2 * channels, 2 * channels, 1),
            nn.Conv2d(channels, channels, 1),
        )

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation."""
        mean, log_variance = self.quant_conv(self.encoder(x)).chunk(2, dim=1)
        return mean, (0.5 * log_variance.clamp(-30, 20)).exp()

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(self.post_quant_conv(z))


class VqStage(nn.Module):
    def __init__(self, width: int, mult: tuple, res_blocks: int, channels: int, codes: int) -> None:
        super().__init__()
        self.encoder = Encoder(width, mult, res_blocks, channels)
        self.decoder = Decoder(width, mult, res_blocks, channels)
        self.quant_conv, self.post_quant_conv = (nn.Conv2d(channels, channels, 1) for _ in range(2))
        self.quantize = nn.ModuleDict({"embedding": nn.Embedding(codes, channels)})

    def encode(self, x: Tensor) -> Tensor:
        return self.quant_conv(self.encoder(x))

    def decode(self, z: Tensor) -> Tensor:
        codes = self.quantize["embedding"].weight
        distances = (z[:, None] - codes[None, :, :, None, None]).square().sum(2)
        return self.decoder(self.post_quant_conv(codes[distances.argmin(1)].permute(0, 3, 1, 2)))


# --- CLIP's text encoder ----------------------------------------------------------------------------------------------


class TextLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.self_attn = nn.ModuleDict({f"{x}_proj": nn.Linear(width, width) for x in ("q", "k", "v", "out")})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})

    def forward(self, x: Tensor) -> Tensor:
        h = self.layer_norm1(x)
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        q, k, v = (self.self_attn[f"{name}_proj"](h) for name in "qkv")
        x = x + self.self_attn["out_proj"](softmax_attention(q, k, v, self.heads, later))
        h = self.mlp["fc1"](self.layer_norm2(x))
        return x + self.mlp["fc2"](h / (1 + torch.exp(-1.702 * h)))


class Text(nn.Module):
    def __init__(self, width: int, heads: int, layers: int = 12, vocabulary: int = 49408, tokens: int = 77) -> None:
        super().__init__()
        embeddings = {"token_embedding": nn.Embedding(vocabulary, width)}
        self.embeddings = nn.ModuleDict({**embeddings, "position_embedding": nn.Embedding(tokens, width)})
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(TextLayer(width, heads) for _ in range(layers))})
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embeddings["token_embedding"](tokens) + self.embeddings["position_embedding"].weight[None]
        for layer in self.encoder["layers"]:
            x = layer(x)
        return self.final_layer_norm(x)


# --- files ------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def scrambled(network: nn.Module, seed: int) -> nn.Module:
    """The network with weights that are all random and keep activations of order one: none is zero or one by design."""
    random = torch.Generator().manual_seed(seed)
    for name, weight in network.named_parameters():
        noise = torch.randn(weight.shape, generator=random)
        fan_in = math.prod(weight.shape[1:])
        if weight.ndim == 1:
            weight.copy_(0.2 * noise + (1 if name.endswith("weight") else 0))
        else:
            weight.copy_(noise if "embedding" in name else noise / fan_in**0.5)
    return network.eval().requires_grad_(False)


def keyed(prefix: str, network: nn.Module) -> dict[str, Tensor]:
    return {prefix + key: weight for key, weight in network.state_dict().items()}


def averaged(network: nn.Module) -> dict[str, Tensor]:
    """The keys of an exponential moving average of the UNet: without dots after the first."""
    return {"model_ema.diffusion_model" + key.replace(".", ""): w for key, w in network.state_dict().items()}


def alphas_cumprod(start: float, end: float) -> Tensor:
    betas = torch.linspace(start**0.5, end**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, dim=0)


def lightning(weights: dict[str, Tensor]) -> dict[str, object]:
    """A checkpoint as training leaves it."""
    extras = {"epoch": 3, "global_step": 1000, "pytorch-lightning_version": "1.4.2", "callbacks": {}}
    return {**extras, "state_dict": weights, "optimizer_states": [{"state": {}, "param_groups": [{"lr": 1e-6}]}]}
