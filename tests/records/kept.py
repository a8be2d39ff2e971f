"""What the tests of this room keep: pictures and rows that tell whose they are."""

import numpy as np
from numpy.typing import NDArray

from ldsmc_bench.records.record import Record
from ldsmc_bench.records.store import Store

RUN = "ldsmc-freeform-toyfaces-0123456789ab"


def picture(image_id: str, writer: str = "") -> NDArray[np.uint8]:
    """8x8 pixels that no other image, and no other writer, has."""
    seed = np.frombuffer(f"{image_id} {writer}".encode(), dtype=np.uint8)
    return np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def row(image_id: str, status: str = "ok", writer: str = "", error: str = "out of memory") -> Record:
    """A complete record, whose diagnostics name the writer."""
    record = Record(
        run_id=RUN,
        image_id=image_id,
        method="ldsmc",
        task="freeform",
        dataset="toyfaces",
        seed=0,
        steps=100,
        particles=5,
        status=status,
        metrics={"psnr": 21.5} if status == "ok" else {},
        cost={"unet_forward": 100},
        diagnostics={"writer": writer},
    )
    if status != "ok":
        record["error"] = error
    return record


def snapshot(store: Store) -> dict[str, tuple[int, int, bytes]]:
    """What would show that a file was written again: inode, time and content, of all but temporary files."""
    files = [path for path in store.root.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def hidden(store: Store) -> list[str]:
    """Temporary and other hidden files, by name."""
    return sorted(path.name for path in store.root.rglob(".*"))
