"""The state that a process shares: a user's code finds it as a run sets it, and leaves it so for the next.

Put back is what numbers, files or messages of later work depend on, on this thread. Left alone are `os.environ`, where
libraries keep what they set for their own later calls, and whatever a module keeps inside itself, as matplotlib its
settings: no run draws with it. Folders that were added to `sys.path` stay at its end, where they hide no module: what
was imported from them may import more when it is called.
"""

import gc
import os
import random
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFile
from torch import backends
from torch.nn.modules import module as networks
from torch.overrides import _get_current_function_mode_stack, _pop_mode
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
Part = tuple[Callable[[], Any], Callable[[Any], object]]  # reads a part of the state, and sets it


def _attributes(name: str, *owners: Any) -> list[Part]:
    return [(partial(getattr, owner, name), partial(setattr, owner, name)) for owner in owners]


def _hooks(hooks: dict[Any, Any]) -> Part:
    def keep_only(before: dict[Any, Any]) -> None:
        for key in hooks.keys() - before.keys():
            del hooks[key]

    return partial(dict, hooks), keep_only


def _modes(stack: Callable[[], list[Any]], leave: Callable[[Any], object]) -> Part:
    def leave_others(before: list[Any]) -> None:
        for mode in reversed(stack()[len(before) :]):
            leave(mode)

    return stack, leave_others


def _umask() -> int:
    found = os.umask(0o022)
    os.umask(found)
    return found


def _flushes() -> bool:
    return not (torch.tensor([1e-40]) * torch.tensor([1.0])).item()


def _search_first(before: list[str]) -> None:
    sys.path[:] = [*before, *(one for one in sys.path if one not in before)]


def _filter_warnings(filters: list[Any]) -> None:
    warnings.resetwarnings()  # of what was shown already, too
    warnings.filters = list(filters)


STATE: list[Part] = [  # in the order of putting back
    # None, not "cpu": the mode that sets a default device slows every new tensor down
    (torch.get_default_device, lambda before: torch.set_default_device(None if before.type == "cpu" else before)),
    _modes(_get_current_function_mode_stack, lambda _: _pop_mode()),  # one that torch.device has entered has no exit
    _modes(_get_current_dispatch_mode_stack, lambda mode: mode.__exit__(None, None, None)),
    *(
        _hooks(hooks)  # of every network in the process
        for name, hooks in vars(networks).items()
        if name.startswith("_global_") and "hooks" in name and isinstance(hooks, dict)
    ),
    *((partial(signal.getsignal, n), partial(signal.signal, n)) for n in SIGNALS),
    (random.getstate, random.setstate),
    (np.random.get_state, np.random.set_state),
    (torch.get_rng_state, torch.set_rng_state),
    (lambda: torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [], torch.cuda.set_rng_state_all),
    (
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        lambda before: torch.use_deterministic_algorithms(before[0], warn_only=before[1]),
    ),
    (gc.isenabled, lambda before: gc.enable() if before else gc.disable()),
    (gc.get_threshold, lambda before: gc.set_threshold(*before)),
    (os.getcwd, os.chdir),
    (lambda: list(sys.path), _search_first),
    (_umask, os.umask),
    (backends.mha.get_fastpath_enabled, backends.mha.set_fastpath_enabled),
    (_flushes, torch.set_flush_denormal),
    (lambda: list(warnings.filters), _filter_warnings),
    (np.geterr, lambda before: np.seterr(**before)),
    *((partial(torch.is_autocast_enabled, d), partial(torch.set_autocast_enabled, d)) for d in ("cpu", "cuda")),
    *((partial(torch.get_autocast_dtype, d), partial(torch.set_autocast_dtype, d)) for d in ("cpu", "cuda")),
    (torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
    (backends.cuda.cudnn_sdp_enabled, backends.cuda.enable_cudnn_sdp),
    (backends.cuda.math_sdp_enabled, backends.cuda.enable_math_sdp),
    (backends.cuda.mem_efficient_sdp_enabled, backends.cuda.enable_mem_efficient_sdp),
    (backends.cuda.flash_sdp_enabled, backends.cuda.enable_flash_sdp),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.get_default_dtype, torch.set_default_dtype),
    # torch's newer names of precision before its older ones
    *_attributes("fp32_precision", backends, backends.cuda.matmul, backends.cudnn),
    *_attributes("fp32_precision", *(getattr(backends.cudnn, name, None) for name in ("conv", "rnn"))),
    *_attributes("fp32_precision", *(getattr(backends.mkldnn, name, None) for name in ("matmul", "conv", "rnn"))),
    *_attributes("fp32_precision", backends.mkldnn),
    *_attributes("allow_tf32", backends.cuda.matmul, backends.cudnn),
    *_attributes("allow_fp16_reduced_precision_reduction", backends.cuda.matmul),
    *_attributes("allow_bf16_reduced_precision_reduction", backends.cuda.matmul),
    *_attributes("enabled", backends.cudnn, backends.mkldnn, backends.opt_einsum),
    *_attributes("deterministic", backends.cudnn, backends.mkldnn),
    *_attributes("benchmark", backends.cudnn),
    *_attributes("strategy", backends.opt_einsum),
    *_attributes("LOAD_TRUNCATED_IMAGES", ImageFile),  # half a picture would be a truth
    *_attributes("MAX_IMAGE_PIXELS", Image),
    *_attributes("stdout", sys),
    *_attributes("stderr", sys),
    *_attributes("showwarning", warnings),
]


@contextmanager
def unchanged(seed: int | None = None) -> Iterator[None]:
    """Put the process's state back afterwards, whatever happens inside.

    With a `seed`, code inside that draws from the global generators of Python, NumPy and torch draws by it. On the way
    out each part is put back even where another cannot be.
    """
    with ExitStack() as after:
        for get, put in reversed(STATE):  # `after` unwinds from its end
            with suppress(AttributeError, OSError, RuntimeError):  # what cannot be read is left alone
                after.callback(_put_back, get, put, get())
        # leaving it puts back autograd's modes, which a thread has; entered last, so that the others find them right
        before = torch.is_grad_enabled()
        after.enter_context(torch.inference_mode(False))
        torch.set_grad_enabled(before)
        if seed is not None:
            random.seed(seed)
            np.random.seed(seed % 2**32)
            torch.manual_seed(seed % 2**63)
        yield


def _put_back(get: Callable[[], Any], put: Callable[[Any], object], before: Any) -> None:
    try:
        changed = bool(get() != before)
    except (OSError, RuntimeError, ValueError):  # a folder that is gone; two names of torch that disagree; arrays
        changed = True
    if changed:
        put(before)
