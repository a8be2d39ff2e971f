"""Tables and status of a large store: how long they take, first from every record, then from the Parquet views."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

MEASURE = """
import sys, time
from pathlib import Path
started = time.perf_counter()
import {module}
{module}.main({arguments!r})
peak = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]  # ru_maxrss would begin at the parent's
print(time.perf_counter() - started, time.process_time(), int(peak) / 2**20, file=sys.stderr)
"""
METHODS, TASKS, PARTICLES = ("ldsmc", "ltds", "pfld", "psld", "resample"), 10, (1, 2, 5, 10)
STEPS = 20


def write_store(results_dir: Path, runs: int, images: int) -> None:
    """Made-up runs of methods, tasks, particles and seeds, with `images` records each."""
    for number in range(runs):
        method, rest = METHODS[number % len(METHODS)], number // len(METHODS)
        task, rest = f"task{rest % TASKS}", rest // TASKS
        particles, seed = PARTICLES[rest % len(PARTICLES)], rest // len(PARTICLES)
        labels = {"method": method, "task": task, "dataset": "toyfaces", "seed": seed, "steps": 100}
        write_run(results_dir, labels | {"particles": particles}, images, number)


def write_run(results_dir: Path, labels: dict[str, object], images: int, number: int) -> None:
    """One made-up run. Files are written without waiting for the disk, unlike those of real runs."""
    random = np.random.default_rng(number)
    run_id = f"{labels['method']}-{labels['task']}-toyfaces-{number:012x}"
    root = results_dir / "runs" / run_id
    (root / "records").mkdir(parents=True)
    for image in range(images):
        psnr, ess = random.normal(25 + image % 7, 1), (1 + 4 * random.random(STEPS)).tolist()
        record = {
            "run_id": run_id,
            "image_id": f"test-{image:06}",
            **labels,
            "status": "ok",
            "metrics": {"psnr": psnr, "ssim": psnr / 40, "toyfaces_perceptual": 2 / psnr, "misfit": 1 + ess[0] / 9},
            "cost": {"seconds": 2 + random.random(), "denoiser_forward": 100.0, "denoiser_backward": 100.0},
            "diagnostics": {"ess": ess, "resampled": [0.0] * STEPS},
        }
        (root / "records" / f"test-{image:06}.json").write_text(json.dumps(record))
    sample = {"steps": 100, "particles": labels["particles"], "kappa1": 1.0}
    config = {
        "protocol": 2,
        "method": {"name": labels["method"], "version": 1, "sample": sample},
        "task": {"name": labels["task"], "noise_std": 0.01},
        "dataset": {"name": "toyfaces", "digest": "0"},
        "prior": {"name": "ldm_toyfaces", "digest": "0"},
        "seed": labels["seed"],
    }
    (root / "config.yaml").write_text(yaml.safe_dump(config))
    request = {"images": [images], "variant": "default", **labels}
    (root / "requested.json").write_text(json.dumps(request))
    sets = {"n": images, "toyfaces_fid": 20 + random.random(), "toyfaces_fid_se": 0.5}
    (root / "summary.json").write_text(json.dumps({"run_id": run_id, "n": images, "sets": sets}))


def timed(module: str, arguments: list[str]) -> list[float]:
    """Seconds on the clock, seconds of the processor, and peak memory in GB of a command in a process of its own."""
    code = MEASURE.format(module=module, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [float(number) for number in done.stderr.split()[-3:]]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read in /proc")
@pytest.mark.parametrize(("runs", "images"), [(250, 1000)])
def test_tables_and_status_of_many_rows(tmp_path: Path, runs: int, images: int) -> None:
    """The project's aim for a million rows: tables in 60 seconds and 2 GB, status in 5 seconds, once the views are
    made. A quarter of the rows shows it in a quarter of the time, beside a second and half a GB that no row takes."""
    write_store(tmp_path, runs, images)
    share = runs * images / 1e6
    status, tables = ["--results-dir", str(tmp_path)], [f"results_dir={tmp_path}"]
    for what, module, arguments, limit in (
        ("status, every record read", "ldsmc_bench.status", status, None),
        ("status", "ldsmc_bench.status", status, 5),
        ("tables", "ldsmc_bench.report.tables.__main__", tables, 60),
    ):
        seconds, processor, memory = timed(module, arguments)
        print(f"{what:26} {seconds:7.2f} s ({processor:.2f} s of the processor)  {memory:5.2f} GB", flush=True)
        assert limit is None or (processor < 1 + share * limit and memory < 0.5 + share * 1.5)
