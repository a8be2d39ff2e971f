"""Pipelines of every kind with random weights, each saved by diffusers in a second."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import schedulers
from torch import nn

LEVELS = {"block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4}
VAE = LEVELS | {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
SD = {
    "clip_sample": False,
    "steps_offset": 1,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
}
WORDS = {"<|startoftext|>": 0, "<|endoftext|>": 1, "!": 2, "c": 3, "a": 4, "t</w>": 5, "ca": 6}


def seeded(build: Callable[..., Any], **settings: Any) -> Any:
    """A network in eval mode, no weight of which is zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build(**settings)
        for weight in network.parameters():
            weight.data.add_(0.05 * torch.randn_like(weight))
    return network.eval().requires_grad_(False)


def plain_unet(channels: int = 3, out: int | None = None, size: Any = 16) -> nn.Module:
    blocks = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}
    made = {"in_channels": channels, "out_channels": out or channels, "sample_size": size, "attention_head_dim": 4}
    return seeded(diffusers.UNet2DModel, **LEVELS, **blocks, **made)


def text_unet(width: int, **more: Any) -> nn.Module:
    blocks = {
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    }
    made = {"sample_size": 8, "cross_attention_dim": width, "attention_head_dim": 2}
    return seeded(diffusers.UNet2DConditionModel, **LEVELS, **blocks, **made, **more)


def kl(channels: int = 4, **more: Any) -> nn.Module:
    return seeded(diffusers.AutoencoderKL, **VAE, latent_channels=channels, **more)


def clip(width: int, projected: bool = False) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    kind = CLIPTextModelWithProjection if projected else CLIPTextModel
    sizes = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"vocab_size": len(WORDS), "max_position_embeddings": 12, "projection_dim": width}
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    return seeded(lambda: kind(CLIPTextConfig(**sizes, **ends)))


def clip_tokenizer() -> Any:
    from transformers import CLIPTokenizer

    return CLIPTokenizer(vocab=WORDS, merges=[("c", "a")], pad_token="!", model_max_length=12)


def t5(width: int) -> dict[str, Any]:
    from transformers import T5Config, T5EncoderModel, T5TokenizerFast

    sizes = {"d_model": width, "d_ff": width, "d_kv": 4, "num_heads": 2, "num_layers": 1, "vocab_size": 8}
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁cat", -1.0)]
    tokenizer = T5TokenizerFast(vocab=vocabulary, extra_ids=0, model_max_length=12)
    return {"encoder": seeded(lambda: T5EncoderModel(T5Config(**sizes))), "tokenizer": tokenizer}


def ddpm(**settings: Any) -> Any:
    return diffusers.DDPMPipeline(unet=plain_unet(), scheduler=schedulers.DDPMScheduler(**settings))


def ldm(codec: str) -> Any:
    vq = partial(seeded, diffusers.VQModel, **VAE, latent_channels=3, num_vq_embeddings=16, vq_embed_dim=3)
    made = vq(scaling_factor=0.5) if codec == "vq" else kl(3)
    return diffusers.LDMPipeline(vqvae=made, unet=plain_unet(3, size=8), scheduler=schedulers.DDIMScheduler(**SD))


def sd(**settings: Any) -> Any:
    return diffusers.StableDiffusionPipeline(
        **{"vae": kl(), "text_encoder": clip(8), "tokenizer": clip_tokenizer(), "unet": text_unet(8)},
        **{"scheduler": schedulers.DDIMScheduler(**SD, **settings), "safety_checker": None, "feature_extractor": None},
        requires_safety_checker=False,
    )


def sdxl(vae: Any = None, scheduler: Any = None) -> Any:
    pooled = {"addition_embed_type": "text_time", "addition_time_embed_dim": 4}
    return diffusers.StableDiffusionXLPipeline(
        vae=vae or kl(),
        **{"text_encoder": clip(8), "text_encoder_2": clip(16, projected=True)},
        **{"tokenizer": clip_tokenizer(), "tokenizer_2": clip_tokenizer()},
        unet=text_unet(24, **pooled, projection_class_embeddings_input_dim=6 * 4 + 16),
        scheduler=scheduler
        or schedulers.EulerDiscreteScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )


def playground() -> Any:
    """SDXL with EDM's scaling and latents of another mean and scale."""
    vae = kl(latents_mean=[0.1, 0.2, -0.3, 0.4], latents_std=[1.5, 2.0, 0.7, 1.1], scaling_factor=0.5)
    return sdxl(vae, schedulers.EDMEulerScheduler())


def sd3(third: bool = True) -> Any:
    sizes = {"sample_size": 8, "patch_size": 2, "in_channels": 16, "num_layers": 1, "attention_head_dim": 4}
    sizes |= {"num_attention_heads": 2, "joint_attention_dim": 32, "caption_projection_dim": 8, "out_channels": 16}
    last = t5(32) if third else {"encoder": None, "tokenizer": None}
    return diffusers.StableDiffusion3Pipeline(
        transformer=seeded(diffusers.SD3Transformer2DModel, **sizes, pooled_projection_dim=24, pos_embed_max_size=8),
        scheduler=schedulers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=kl(16, shift_factor=0.0609, scaling_factor=1.5305, use_quant_conv=False, use_post_quant_conv=False),
        **{"text_encoder": clip(8, projected=True), "text_encoder_2": clip(16, projected=True)},
        **{"tokenizer": clip_tokenizer(), "tokenizer_2": clip_tokenizer()},
        **{"text_encoder_3": last["encoder"], "tokenizer_3": last["tokenizer"]},
    )


def flux(distilled: bool = False) -> Any:
    sizes = {"patch_size": 1, "in_channels": 16, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16}
    sizes |= {"num_attention_heads": 2, "joint_attention_dim": 32, "pooled_projection_dim": 8}
    last = t5(32)
    return diffusers.FluxPipeline(
        transformer=seeded(
            diffusers.FluxTransformer2DModel, **sizes, axes_dims_rope=(4, 4, 8), guidance_embeds=distilled
        ),
        scheduler=schedulers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=distilled, shift=1.0),
        vae=kl(4, shift_factor=0.1159, scaling_factor=0.3611, use_quant_conv=False, use_post_quant_conv=False),
        **{"text_encoder": clip(8), "tokenizer": clip_tokenizer()},
        **{"text_encoder_2": last["encoder"], "tokenizer_2": last["tokenizer"]},
    )


def saved(pipeline: Any, folder: Path, **how: Any) -> Path:
    pipeline.save_pretrained(folder, **how)
    return folder
