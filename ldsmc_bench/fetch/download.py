"""One file over HTTP: streamed to disk by huggingface_hub, resumed only where it is still the same file."""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import http_backoff

from ldsmc_bench.errors import UserError
from ldsmc_bench.fetch.check import check_room
from ldsmc_bench.fetch.sources import format_size
from ldsmc_bench.files import read_json

_HEADERS = {"User-Agent": "ldsmc_bench", "Accept-Encoding": "identity"}
_CHUNK = 2**20
_RETRIES = 2  # of the first question; a download that breaks off is resumed by huggingface_hub itself


class NotOffered(UserError):
    """The server answers, but does not give the file; trying again would not help."""


def download(url: str, part: Path, timeout: float = 20.0) -> None:
    """Bring the whole file at `url` to `part`, resuming what an earlier call left of the same file there.

    `timeout`: seconds to wait for a sign of the server. `part` is complete when this returns, as far as the server
    gives its length. Raises NotOffered for a refusal or a web page in the file's place, UserError where there is no
    room or no network.
    """
    # http_get reads both here; of a connection that breaks off, less than a chunk is lost
    constants.HF_HUB_DOWNLOAD_TIMEOUT, constants.DOWNLOAD_CHUNK_SIZE = timeout, _CHUNK  # type: ignore[assignment]
    try:
        answer = http_backoff("HEAD", url, headers=_HEADERS, timeout=timeout, max_retries=_RETRIES)
        offer = _read_offer(url, answer)
        size, validator = offer["size"], offer["validator"]
        if not _belongs(part, offer):
            forget(part)
        if size is not None:
            rest = size - _size(part)
            check_room(part.parent, rest, f"{part}: {format_size(rest)} are to come")
        _note(part).write_text(json.dumps(offer))
        headers = _HEADERS | ({"If-Range": validator} if validator else {})  # also of http_get's own retries
        with part.open("ab") as file:
            http_get(
                url, file, resume_size=_size(part), expected_size=size, headers=headers, displayed_filename=part.stem
            )
    except HfHubHTTPError as error:
        if error.response.status_code == 416:  # the file is shorter than our part of it
            forget(part)
            return download(url, part, timeout)
        raise _refusal(url, error.response) from error
    except UserError:
        raise
    except Exception as error:  # of the HTTP client that huggingface_hub has in this version
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of our disk
        kept = f"; {format_size(_size(part))} of it are kept" if _size(part) else ""
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{url}: {reason}; where there is a network, give the command again{kept}") from error
    _note(part).unlink()


def forget(part: Path) -> None:
    """Remove the rest of an earlier download."""
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _read_offer(url: str, answer: Any) -> dict[str, Any]:
    """The file as the server describes it, for a note beside the part: url, size and, for If-Range, the validator: a
    strong ETag, else Last-Modified. Raises NotOffered where it gives something else than a file."""
    if answer.status_code >= 400:
        raise _refusal(url, answer)
    for hop in (*answer.history, answer):
        if url.startswith("https:") and not str(hop.url).startswith("https:"):
            raise NotOffered(f"{url}: leads on to {hop.url}, which is not encrypted")
    headers = answer.headers
    if headers.get("Content-Type", "").startswith("text/html"):
        raise NotOffered(f"{url}: the server sends a web page in place of the file")
    if (encoding := headers.get("Content-Encoding", "identity")) != "identity":
        raise NotOffered(f"{url}: the server sends the file encoded as {encoding}")
    length, etag = headers.get("Content-Length", ""), headers.get("ETag", "")
    validator = etag if etag.startswith('"') else headers.get("Last-Modified")
    return {"url": url, "size": int(length) if length.isdigit() else None, "validator": validator}


def _refusal(url: str, answer: Any) -> NotOffered:
    return NotOffered(f"{url}: the server answers {answer.status_code} {answer.reason_phrase}")


def _belongs(part: Path, offer: dict[str, Any]) -> bool:
    """True if `part` is the beginning of the file on offer."""
    return read_json(_note(part)) == offer and (offer["size"] is None or _size(part) <= offer["size"])


def _note(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
