"""What is made once from files that came from elsewhere: one folder, and checkpoints converted into it.

weights/<prior name>/      the publishers' files, where the fetch command puts them
converted/*.safetensors    the same weights in our networks' layout
digests/*.json             SHA-256 of files already read, so that gigabytes are not read again to know them
"""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ldsmc_bench.errors import UserError
from ldsmc_bench.prior.assets import digest

CONVERSION = 1  # raise it when the same file and layout become other tensors
_SETTLED = 2.0  # seconds since its last change after which a file's time stamp tells one content from another


def cache_folder() -> Path:
    """`$LDSMC_CACHE`, else `ldsmc_bench` in the user's cache directory (`$XDG_CACHE_HOME`, else `~/.cache`)."""
    if chosen := os.environ.get("LDSMC_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ldsmc_bench"


def weights_folder(prior: str) -> Path:
    """Where the publishers' files of a prior are, once they are fetched."""
    return cache_folder() / "weights" / prior


def converted(source: Path, layout: str, convert: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors that `convert` makes of the file `source`: made once, then read from the cache, memory-mapped.

    `layout` says everything but the file that the tensors depend on. They are kept under the SHA-256 of both; frozen
    networks may hold them as they are (`load_state_dict(assign=True)`), without a copy. Whatever `convert` raises
    passes through, and nothing is kept. Raises UserError where the cache cannot be written.
    """
    name = hashlib.sha256(f"{CONVERSION} {known_digest(source)} {layout}".encode()).hexdigest()
    path = cache_folder() / "converted" / f"{source.stem}-{name[:32]}.safetensors"
    if (kept := _read(path)) is not None:
        return kept
    tensors = {key: tensor.contiguous() for key, tensor in convert().items()}
    with replacing(path) as temporary:
        save_file(tensors, temporary)
    return load_file(path)


def known_digest(path: Path) -> str:
    """SHA-256 of a file, read only where its path, size or time of change is new. Raises UserError where it is absent
    or cannot be read, or where the cache cannot be written."""
    try:
        stat = path.stat()
        whole = str(path.resolve())
        described = {"path": whole, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
        note = cache_folder() / "digests" / f"{hashlib.sha256(whole.encode()).hexdigest()[:32]}.json"
        if (noted := _note(note)) and all(noted.get(key) == value for key, value in described.items()):
            return str(noted["sha256"])
        found = digest(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); put the file there") from error
    if time.time() - stat.st_mtime > _SETTLED:
        with replacing(note) as temporary:
            temporary.write_text(json.dumps({**described, "sha256": found}) + "\n")
    return found


def _read(path: Path) -> dict[str, Tensor] | None:
    """What is kept at `path`; None where there is nothing whole, so that it is made anew."""
    try:
        return load_file(path)
    except (OSError, SafetensorError):
        return None


def _note(path: Path) -> dict[str, object] | None:
    try:
        note = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return note if isinstance(note, dict) and "sha256" in note else None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that becomes `path` if all goes well, so that no reader meets half a file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
        os.close(descriptor)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:  # safetensors reports a full disk in its own words
        raise UserError(
            f"{path}: cannot be written ({error}); make room there or choose another folder with LDSMC_CACHE"
        ) from error
