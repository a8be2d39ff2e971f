"""Archives of runs: a zip file of a results folder's own files, and of `manifest.json`.

The manifest names who published it and the SHA-256 of every file. The same runs give the same bytes, so that archives
can lie in a git repository.
"""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import yaml

from ldsmc_bench.errors import UserError
from ldsmc_bench.files import write_file
from ldsmc_bench.records.identity import run_id

MANIFEST, FORMAT, SUFFIX = "manifest.json", 1, ".zip"


@dataclass(frozen=True)
class Archive:
    """The files of an archive by name, digests checked."""

    path: Path
    sha256: str
    by: str
    files: Mapping[str, bytes]

    def below(self, folder: str) -> dict[str, bytes]:
        """The files below a folder, by their names from there on."""
        return {name.removeprefix(folder): data for name, data in self.files.items() if name.startswith(folder)}


def pack(out: Path, files: Mapping[str, Path], by: str) -> None:
    """Write an archive of these files, whose bytes depend on nothing else. Raises UserError if it cannot be written."""
    data = {name: path.read_bytes() for name, path in sorted(files.items())}
    digests = {name: digest(one) for name, one in data.items()}
    manifest = json.dumps({"format": FORMAT, "by": by, "files": digests}, indent=1).encode()
    with zipfile.ZipFile(whole := io.BytesIO(), "w") as archive:
        for name, one in {MANIFEST: manifest, **data}.items():
            how = zipfile.ZIP_STORED if name.endswith(".png") else zipfile.ZIP_DEFLATED
            archive.writestr(zipfile.ZipInfo(name), one, how)  # with a fixed date
    write_file(out, whole.getvalue())


def id_of(config: bytes) -> str:
    """The id of the run with this config.yaml; empty where it is not legible."""
    try:
        return run_id(yaml.safe_load(config))
    except (yaml.YAMLError, UnicodeError, LookupError, TypeError, AttributeError):
        return ""


def unpack(path: Path) -> Archive:
    """Read an archive whole. Raises UserError where it is damaged, incomplete, or was not made by `publish`."""
    try:
        whole = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            data = {name: archive.read(name) for name in archive.namelist()}
        manifest = json.loads(data.pop(MANIFEST))
        digests, by = dict(manifest["files"]), str(manifest["by"])
    except (OSError, zipfile.BadZipFile, zlib.error, KeyError, ValueError, TypeError, NotImplementedError) as error:
        raise UserError(f"{path}: not an archive of publish, or damaged ({error}); ask for it again") from error
    if manifest.get("format") != FORMAT:
        raise UserError(f"{path}: of format {manifest.get('format')}, and this version reads {FORMAT}: update one")
    wrong = {name for name in data if digest(data[name]) != digests.get(name) or not belongs(name)}
    if wrong := wrong | (digests.keys() - data.keys()):
        raise UserError(f"{path}: {min(wrong)} is not what was published; ask for the archive again")
    return Archive(path, digest(whole), by, data)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def belongs(name: str) -> bool:
    """True if a file belongs in a results folder: in `runs/<id>/` or `problems/<id>/`, and nowhere else."""
    parts = PurePosixPath(name).parts
    plain = all(part not in ("..", ".") and not part.startswith(".") and "\\" not in part for part in parts)
    return plain and len(parts) > 2 and parts[0] in ("runs", "problems") and name == "/".join(parts)
