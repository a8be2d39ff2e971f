"""What a user's code may leave behind in the process, one kind a name."""

import gc
import os
import random
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import ImageFile
from torch.overrides import BaseTorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

HELD: list[Any] = []  # what keeps a mode open


def enter(mode: Any) -> None:
    mode.__enter__()
    HELD.append(mode)


LEFT: dict[str, Callable[[], object]] = {
    "default dtype": lambda: torch.set_default_dtype(torch.float64),
    "default device": lambda: torch.set_default_device("meta"),
    "device as a mode": lambda: enter(torch.device("meta")),
    "function mode": lambda: enter(BaseTorchFunctionMode()),
    "dispatch mode": lambda: enter(FlopCounterMode(display=False)),
    "grad mode": lambda: torch.set_grad_enabled(False),
    "no_grad": lambda: enter(torch.no_grad()),
    "inference mode": lambda: enter(torch.inference_mode()),
    "autocast": lambda: torch.set_autocast_enabled("cpu", True),
    "autocast dtype": lambda: torch.set_autocast_dtype("cpu", torch.float16),
    "anomaly": lambda: torch.autograd.set_detect_anomaly(True),
    "threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "deterministic": lambda: torch.use_deterministic_algorithms(True, warn_only=True),
    "cudnn": lambda: setattr(torch.backends.cudnn, "benchmark", True),
    "mkldnn": lambda: torch.backends.mkldnn.set_flags(False),
    "TF32": lambda: setattr(torch.backends.cuda.matmul, "allow_tf32", True),
    "TF32, newer name": lambda: setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32"),
    "precision of all": lambda: setattr(torch.backends, "fp32_precision", "tf32"),
    "matmul precision": lambda: torch.set_float32_matmul_precision("medium"),
    "attention": lambda: torch.backends.cuda.enable_flash_sdp(False),
    "attention's fast path": lambda: torch.backends.mha.set_fastpath_enabled(False),
    "denormals": lambda: torch.set_flush_denormal(True),
    "einsum": lambda: setattr(torch.backends.opt_einsum, "strategy", "optimal"),
    "hooks of all networks": lambda: torch.nn.modules.module.register_module_forward_hook(lambda *_: None),
    "truncated pictures": lambda: setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True),
    "modes of files": lambda: os.umask(0o077),
    "garbage collection": lambda: gc.disable(),
    "garbage collection's pace": lambda: gc.set_threshold(7),
    "order of modules' folders": lambda: sys.path.reverse(),
    "seed": lambda: (torch.manual_seed(5), np.random.seed(5), random.seed(5)),
    "NumPy's errors": lambda: np.seterr(all="raise"),
    "warnings": lambda: warnings.simplefilter("error"),
    "warnings shown": lambda: setattr(warnings, "showwarning", print),
    "stdout": lambda: setattr(sys, "stdout", sys.stderr),
    "signals": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
}
