"""The cache of fetched checkpoints and of their conversions, and the checks of what a prior's configuration asks for.

weights/<prior name>/      the publishers' files, where the fetch command puts them
converted/*.safetensors    the same weights in our networks' layout
digests/*.json             SHA-256 of files already read, so that gigabytes are not read again to know them

Files have the modes of the user's umask, so that a group can share the folder. Who may not read or write there converts
and hashes anew each time.
"""

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ldsmc_bench import files
from ldsmc_bench.errors import UserError, warn
from ldsmc_bench.files import cache_folder, file_digest, replacing

CONVERSION = 2  # raise it when the same file and layout become other tensors
_SETTLED = 2.0  # seconds since its last change after which a file's time stamp tells one content from another


def weights_folder(prior: str) -> Path:
    """The folder of a prior's fetched files."""
    return cache_folder() / "weights" / prior


def require_file(folder: Path, name: str, *files: str) -> None:
    """Raises UserError, with the command that fetches the prior `name`, if `folder` holds none of `files`."""
    if name and not any((folder / file).is_file() for file in files):
        raise UserError(
            f"prior={name}: {folder} holds no {' or '.join(files)}; "
            f"fetch it with: python -m ldsmc_bench fetch prior={name} (or set prior.path to its folder)"
        )


def require_bool(**values: object) -> None:
    """Raises UserError for the first value of a key of the prior that is neither true nor false."""
    for key, value in values.items():
        if not isinstance(value, bool):
            raise UserError(f"prior.{key}={value}: must be true or false")


def require_size(image_size: int | None, size: int, folder: Path) -> None:
    """Raises UserError where the network in `folder` is for images of another size than `prior.image_size`."""
    if image_size not in (None, size):
        raise UserError(
            f"prior.image_size={image_size}: {folder} holds a network for images of {size}; set prior.image_size={size}"
        )


def converted(source: Path, layout: str, convert: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors that `convert` makes of the file `source`: made once, then memory-mapped from the cache, where they
    are kept under the SHA-256 of the file and of `layout`, which names everything else that they depend on.

    Errors of `convert` pass through; where the cache cannot be written, a warning says so.
    """
    name = hashlib.sha256(f"{CONVERSION} {known_digest(source)} {layout}".encode()).hexdigest()
    path = cache_folder() / "converted" / f"{source.stem}-{name[:32]}.safetensors"
    with suppress(OSError, SafetensorError):  # absent or damaged: converted anew
        return load_file(path)
    tensors = {key: tensor.contiguous() for key, tensor in convert().items()}
    try:
        with replacing(path) as temporary:
            save_file(tensors, temporary)
        return load_file(path)
    except (UserError, OSError, SafetensorError) as error:
        warn(f"{error}; until then checkpoints are converted anew each time")
        return tensors


def known_digest(path: Path) -> str:
    """SHA-256 of a file, read only where its path, size or time of change is new. Raises UserError where it is absent
    or cannot be read."""
    try:
        status = path.stat()
        whole = str(path.resolve())
        described = {"path": whole, "size": status.st_size, "mtime_ns": status.st_mtime_ns}
        note = cache_folder() / "digests" / f"{hashlib.sha256(whole.encode()).hexdigest()[:32]}.json"
        noted = files.read_json(note)
        if described.items() <= noted.items() and "sha256" in noted:
            return str(noted["sha256"])
        found = file_digest(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); put the file there") from error
    if time.time() - status.st_mtime > _SETTLED:
        with suppress(OSError):  # without a note the file is read again next time
            note.parent.mkdir(parents=True, exist_ok=True)
            files.replace(note, (json.dumps({**described, "sha256": found}) + "\n").encode())
    return found
