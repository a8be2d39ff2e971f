"""Loading a checkpoint takes little more memory than the weights that are used."""

import multiprocessing
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from ldsmc_bench.checkpoints import compvis
from ldsmc_bench.checkpoints.convert import Source

FIXTURE = Path(__file__).parents[1] / "fixtures" / "compvis_ldm_vq4_unconditional"


def load_and_tell(folder: Path, told: Path) -> None:
    """In a process of its own: bytes at its peak above what it held before. (VmHWM is this process's; what getrusage
    calls the peak is inherited from the process that started it.)"""
    compvis.load(FIXTURE)  # whatever code is needed is in memory now
    base = memory("VmRSS")
    prior = compvis.load(folder)
    for network in (prior.unet, prior.codec.network):
        assert all(weight.sum().isfinite() for weight in network.parameters())  # every page is read
    told.write_text(str(memory("VmHWM") - base))


def memory(kind: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind))


def wide_checkpoint(folder: Path) -> int:
    """Write a checkpoint of more than 200 MB in CompVis' layout; returns the bytes of the weights of one prior."""
    config = OmegaConf.load(FIXTURE / "config.yaml")
    config.model.params.unet_config.params.model_channels = 160
    OmegaConf.save(config, folder / "config.yaml")
    model = compvis.describe(folder)
    with torch.device("meta"):
        states = {name: shape.build().state_dict() for name, shape in model.shapes.items()}
    weights = {}
    for averaged in (False, True):
        keys = compvis.file_keys(model, averaged)
        for name, state in states.items():
            for key, tensor in state.items():
                source = model.shapes[name].origin(key)
                weights[keys[name](source.key)] = stored(tensor, source)
    torch.save({"state_dict": weights}, folder / "model.ckpt")
    return sum(tensor.numel() * tensor.element_size() for state in states.values() for tensor in state.values())


def stored(tensor: torch.Tensor, source: Source) -> torch.Tensor:
    """Weights of the shape that the file has: query, key and value are one."""
    shape = list(tensor.shape)
    return torch.ones(shape if source.part is None else [3 * shape[0], *shape[1:]])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak of a process")
def test_loading_peaks_at_little_more_than_the_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("LDSMC_CACHE", str(tmp_path / "cache"))
    size = wide_checkpoint(tmp_path)
    assert size > 100e6 and (tmp_path / "model.ckpt").stat().st_size > 200e6
    for what in ("converting", "from the cache"):
        told = tmp_path / what
        process = multiprocessing.get_context("forkserver").Process(target=load_and_tell, args=(tmp_path, told))
        process.start()
        process.join(timeout=600)
        assert process.exitcode == 0
        assert 0.9 * size < int(told.read_text()) < 1.3 * size, what
