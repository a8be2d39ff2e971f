"""The training loop of the embedded networks: AdamW, EMA, progress with an estimate, resumable at any moment."""

import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from ldsmc_bench import toyfaces
from ldsmc_bench.files import replacing
from ldsmc_bench.toyfaces.assets import note_digest

M = TypeVar("M", bound=nn.Module)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def render(image_ids: Sequence[str], workers: int | None = None) -> Tensor:
    """Draw toyfaces in parallel: uint8 (n,3,64,64), in the order of the ids."""
    with ProcessPoolExecutor(workers) as pool:
        drawn = pool.map(toyfaces.array, image_ids, chunksize=256)
        faces = list(tqdm(drawn, total=len(image_ids), desc="drawing faces", unit="face", disable=None))
    return torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2).contiguous()


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
) -> M:
    """Minimise `loss(module, generator, step)` and return the average of `module`, an exponential one.

    The generator is seeded by (seed, step), and the state is kept in `<out>.training` until the end: a training that
    was stopped goes on as if it had not. The learning rate warms up, then falls along a cosine. On a GPU, and with
    `bfloat16` on a CPU too, networks run in bfloat16 under autocast; weights stay float32.
    """
    module = module.to(DEVICE).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    average = AveragedModel(
        module, avg_fn=lambda old, new, n: torch.lerp(old, new, 1 - min(ema_decay, (1 + int(n)) / (10 + int(n))))
    )
    optimizer = torch.optim.AdamW(module.parameters(), lr=lr, weight_decay=1e-4, betas=(0.9, 0.99), fused=True)
    checkpoint = out.with_name(out.name + ".training")
    first, minutes = 0, 0.0
    parts: dict[str, Any] = {"module": module, "average": average, "optimizer": optimizer}
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=DEVICE, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        first, minutes = state["step"], state["minutes"]

    started = time.monotonic()
    bar = tqdm(range(first, steps), initial=first, total=steps, desc=f"training {out.stem}", mininterval=5)
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = lr * learning_rate(step, steps, warmup)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        with torch.autocast(DEVICE, dtype=torch.bfloat16, enabled=bfloat16 or DEVICE == "cuda"):
            value = loss(module, generator, step)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(module)
        if (step + 1) % 50 == 0:
            bar.set_postfix(loss=f"{value.item():.4f}")
        if (step + 1) % save_every == 0 or step + 1 == steps:
            state = {name: part.state_dict() for name, part in parts.items()}
            elapsed = minutes + (time.monotonic() - started) / 60
            with replacing(checkpoint) as temporary:
                torch.save({**state, "step": step + 1, "minutes": elapsed}, temporary)
    return cast(M, average.module).eval().requires_grad_(False)


def learning_rate(step: int, steps: int, warmup: int) -> float:
    """Linear warm-up, then a cosine down to 1 %, as a factor of the peak."""
    progress = min(1.0, step / steps)
    return min(1.0, (step + 1) / warmup) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def ship(module: nn.Module, out: Path, *, dtype: torch.dtype, **facts: object) -> None:
    """Write the weights as safetensors with the command, machine and time; delete the training state."""
    checkpoint = out.with_name(out.name + ".training")
    made = {
        "command": " ".join(["python -m ldsmc_bench train", *sys.argv[1:]]),
        "minutes": round(torch.load(checkpoint, map_location="cpu", weights_only=True)["minutes"], 1),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {DEVICE}",
        "torch": torch.__version__,
        **facts,
    }
    weights = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in module.state_dict().items()}
    save_file(weights, out, metadata={"made": json.dumps(made)})
    out.chmod(0o644)
    note_digest(out)
    checkpoint.unlink()
