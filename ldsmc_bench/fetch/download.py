"""One file over HTTP: streamed to disk, resumed where it stopped, never taken for whole before it is."""

import json
import re
import shutil
import ssl
import sys
import time
from dataclasses import asdict, dataclass
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, Never
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from tqdm import tqdm

from ldsmc_bench.errors import UserError
from ldsmc_bench.fetch.places import in_words

_CHUNK = 2**20
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_BAR = "{desc} {percentage:3.0f}%|{bar:24}| {n_fmt}B of {total_fmt}B, {rate_fmt}, {remaining} left"
_BAR_WITHOUT_SIZE = "{desc} {n_fmt}B, {rate_fmt}, {elapsed} elapsed"


@dataclass(frozen=True)
class Patience:
    """Seconds to wait for a sign of the server, tries in a row that bring nothing new, seconds before the second one
    (doubled each time)."""

    timeout: float = 20.0
    tries: int = 3
    pause: float = 1.0


class NotOffered(UserError):
    """The server answers, but does not give the file; trying again would not help."""


class _Interrupted(Exception):
    """Something that may be over in a moment."""


@dataclass(frozen=True)
class _Promise:
    """What the server said of the file that a part belongs to; kept beside the part."""

    url: str
    size: int | None
    validator: str | None  # for If-Range: a strong ETag, else Last-Modified


def download(url: str, part: Path, patience: Patience = Patience()) -> None:
    """Bring the whole file at `url` to `part`, going on from what an earlier call left there.

    A file that has changed since, or a server without ranges, starts again from the first byte. `part` is complete
    when this returns, as far as the server said how long it is.
    Raises NotOffered for a refusal or a web page in the file's place, UserError where there is no room or no network.
    """
    failures, reached = 0, _size(part)
    while True:
        try:
            _attempt(url, part, patience.timeout)
            _promise_path(part).unlink(missing_ok=True)
            return
        except _Interrupted as error:
            arrived = _size(part)
            failures = failures + 1 if arrived < reached + _CHUNK else 1
            reached = max(reached, arrived)
            if failures >= patience.tries:
                kept = f"; {in_words(arrived)} of it are kept" if arrived else ""
                raise UserError(
                    f"{url}: {error}, {failures} times in a row; where there is a network, give the command again{kept}"
                ) from error
            time.sleep(patience.pause * 2 ** (failures - 1))


def forget(part: Path) -> None:
    """Remove what an earlier download left."""
    part.unlink(missing_ok=True)
    _promise_path(part).unlink(missing_ok=True)


def _attempt(url: str, part: Path, timeout: float) -> None:
    promise, arrived = _promise(part, url), _size(part)
    if promise is None:
        forget(part)  # nobody knows what it is a part of
        arrived = 0
    elif arrived and arrived == promise.size:
        return
    try:
        response = _open(url, promise, arrived, timeout)
    except HTTPError as error:
        error.close()
        if error.code == 416 and arrived:  # the file is shorter than what we have of it
            forget(part)
            return _attempt(url, part, timeout)
        if error.code in _TRANSIENT:
            raise _Interrupted(f"the server answers {error.code} {error.reason}") from error
        raise NotOffered(f"{url}: the server answers {error.code} {error.reason}") from error
    with response:
        if response.status == 206:
            if not arrived:
                raise NotOffered(f"{url}: the server sends a part that nobody asked for")
            if promise is None or not _continues(response.headers, arrived, promise.size):
                forget(part)
                return _attempt(url, part, timeout)
        else:
            _check_kind(url, response.headers)
            forget(part)
            promise, arrived = _promised(url, response.headers), 0
            _promise_path(part).write_text(json.dumps(asdict(promise)))
        _check_room(part, promise.size, arrived)
        _stream(response, part, arrived, promise.size)
    if promise.size is not None and _size(part) != promise.size:
        raise _Interrupted(f"the connection ended after {_size(part)} of {promise.size} bytes")


def _open(url: str, promise: _Promise | None, arrived: int, timeout: float) -> HTTPResponse:
    headers = {"User-Agent": "ldsmc_bench", "Accept-Encoding": "identity"}
    if promise and arrived:
        headers["Range"] = f"bytes={arrived}-"
        if promise.validator:
            headers["If-Range"] = promise.validator
    try:
        return build_opener(_Redirects).open(Request(url, headers=headers), timeout=timeout)
    except HTTPError:
        raise
    except (OSError, HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise UserError(f"{url}: the server's certificate does not hold ({reason.verify_message})") from error
        raise _Interrupted(_one_line(reason)) from error
    except ValueError as error:
        raise UserError(f"{url}: is no address to download from") from error


class _Redirects(HTTPRedirectHandler):
    """Redirects are followed, but never from an encrypted connection to one that is not."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        if req.type == "https" and not newurl.lower().startswith("https://"):
            raise NotOffered(f"{req.full_url}: leads on to {newurl}, which is not encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _stream(response: HTTPResponse, part: Path, arrived: int, size: int | None) -> None:
    with part.open("ab") as file, _bar(part, arrived, size) as bar:
        while size is None or arrived < size:
            try:
                chunk = response.read1(_CHUNK if size is None else min(_CHUNK, size - arrived))
            except (OSError, HTTPException, ValueError) as error:  # ValueError: a chunk's length that is no number
                raise _Interrupted(_one_line(error)) from error
            if not chunk:
                break
            file.write(chunk)
            arrived += len(chunk)
            bar.update(len(chunk))


def _bar(part: Path, arrived: int, size: int | None) -> "tqdm[Never]":
    return tqdm(
        desc=part.name.removesuffix(".part"),
        initial=arrived,
        total=size,
        unit="B",
        unit_scale=True,
        bar_format=_BAR_WITHOUT_SIZE if size is None else _BAR,
        mininterval=0.5 if sys.stderr.isatty() else 15,
    )


def _continues(headers: HTTPMessage, arrived: int, size: int | None) -> bool:
    """Whether a partial answer begins where our part ends, and is of a file of the same length."""
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
    return span is not None and span[1] == str(arrived) and (size is None or span[2] == str(size))


def _promised(url: str, headers: HTTPMessage) -> _Promise:
    length, etag = headers.get("Content-Length", ""), headers.get("ETag", "")
    strong = etag if etag.startswith('"') else None
    return _Promise(url, int(length) if length.isdigit() else None, strong or headers.get("Last-Modified"))


def _check_kind(url: str, headers: HTTPMessage) -> None:
    if headers.get_content_type() == "text/html":
        raise NotOffered(f"{url}: the server sends a web page in place of the file")
    if (encoding := headers.get("Content-Encoding", "identity")) != "identity":
        raise NotOffered(f"{url}: the server sends the file encoded as {encoding}")


def _check_room(part: Path, size: int | None, arrived: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if size is not None and size - arrived > free:
        raise UserError(
            f"{part.parent}: {in_words(size - arrived)} are to come, but there is room for {in_words(free)};"
            " make room there or choose another folder with LDSMC_CACHE"
        )


def _promise(part: Path, url: str) -> _Promise | None:
    """What was promised of `part`; None where it is of another address or nothing is known."""
    try:
        promise = _Promise(**json.loads(_promise_path(part).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return promise if promise.url == url else None


def _promise_path(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _one_line(error: object) -> str:
    return " ".join(str(error).split()) or type(error).__name__
