"""The training loop of the embedded networks: AdamW, EMA, progress with an estimate, resumable at any moment."""

import copy
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from ldsmc_bench.prior.assets import note_digest
from ldsmc_bench.problem import toyfaces

M = TypeVar("M", bound=nn.Module)


def render(image_ids: Sequence[str], workers: int | None = None) -> Tensor:
    """Draw toyfaces in parallel: uint8 (n,3,64,64), in the order of the ids."""
    with ProcessPoolExecutor(workers) as pool:
        drawn = pool.map(toyfaces.array, image_ids, chunksize=256)
        faces = list(tqdm(drawn, total=len(image_ids), desc="drawing faces", unit="face"))
    return torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2).contiguous()


def as_image(uint8: Tensor) -> Tensor:
    """uint8 [0,255] to float [-1,1]."""
    return uint8.float() / 127.5 - 1


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def fit(
    module: M,
    loss: Callable[[M, torch.Generator, int], Tensor],
    *,
    out: Path,
    steps: int,
    lr: float,
    seed: int,
    ema_decay: float = 0.999,
    warmup: int = 200,
    save_every: int = 250,
    bfloat16: bool = False,
    before_step: Callable[[M, int], None] | None = None,
) -> M:
    """Minimise `loss(module, generator, step)` and return the EMA copy of `module`.

    The generator is seeded by (seed, step), so a resumed training draws what an undisturbed one would. The state is
    kept beside `out` in `<out>.training` until the end; started again, the same command goes on from there. The
    learning rate warms up, then falls along a cosine. On a GPU, and with `bfloat16` on a CPU too, networks run in
    bfloat16 under autocast; weights stay float32.
    `before_step` may change the module in place (a codebook, for example).
    """
    place = device()
    module = module.to(place).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    ema = copy.deepcopy(module).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(module.parameters(), lr=lr, weight_decay=1e-4, betas=(0.9, 0.99), fused=True)
    checkpoint = out.with_name(out.name + ".training")
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    first, minutes = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=place, weights_only=True)
        module.load_state_dict(state["module"])
        ema.load_state_dict(state["ema"])
        optimizer.load_state_dict(state["optimizer"])
        first, minutes = state["step"], state["minutes"]

    started = time.monotonic()
    bar = tqdm(range(first, steps), initial=first, total=steps, desc=f"training {out.stem}", mininterval=5)
    for step in bar:
        if before_step is not None:
            before_step(module, step)
        for group in optimizer.param_groups:
            group["lr"] = lr * learning_rate(step, steps, warmup)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        with torch.autocast(place, dtype=torch.bfloat16, enabled=bfloat16 or place == "cuda"):
            value = loss(module, generator, step)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        average(ema, module, min(ema_decay, (1 + step) / (10 + step)))
        if (step + 1) % 50 == 0:
            bar.set_postfix(loss=f"{value.item():.4f}")
        if (step + 1) % save_every == 0 or step + 1 == steps:
            state = {
                "module": module.state_dict(),
                "ema": ema.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step + 1,
                "minutes": minutes + (time.monotonic() - started) / 60,
            }
            torch.save(state, checkpoint.with_suffix(".tmp"))
            os.replace(checkpoint.with_suffix(".tmp"), checkpoint)
    return ema


def learning_rate(step: int, steps: int, warmup: int) -> float:
    """Linear warm-up, then a cosine down to 1 %, as a factor of the peak."""
    progress = min(1.0, step / steps)
    return min(1.0, (step + 1) / warmup) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


@torch.no_grad()
def average(ema: nn.Module, module: nn.Module, decay: float) -> None:
    """Exponential moving average of parameters and buffers, in place."""
    for kept, current in zip(ema.state_dict().values(), module.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(current, 1 - decay)
        else:
            kept.copy_(current)


def ship(module: nn.Module, out: Path, *, dtype: torch.dtype, **facts: object) -> None:
    """Write the weights as safetensors with how they came about: command, machine, time; drop the training state."""
    checkpoint = out.with_name(out.name + ".training")
    minutes = torch.load(checkpoint, map_location="cpu", weights_only=True)["minutes"]
    made = {
        "command": "python -m " + " ".join([module_name(), *sys.argv[1:]]),
        "minutes": round(minutes, 1),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {device()}",
        "torch": torch.__version__,
        **facts,
    }
    weights = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in module.state_dict().items()}
    save_file(weights, out, metadata={"made": json.dumps(made)})
    out.chmod(0o644)
    note_digest(out)
    checkpoint.unlink()


def module_name() -> str:
    """The dotted name of the program that runs, as `python -m` takes it."""
    spec = sys.modules["__main__"].__spec__
    return spec.name.removesuffix(".__main__") if spec else sys.argv[0]
