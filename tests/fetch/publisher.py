"""A publisher on the loopback interface, with the faults that real ones have."""

import os
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread


@dataclass
class Offer:
    """What the server gives at one path, and how badly."""

    data: bytes = b""
    etag: str | None = '"1"'
    ranges: bool = True
    size: bool = True  # says how long it is
    kind: str = "application/octet-stream"
    cuts: list[int] = field(default_factory=list)  # bytes after which the connection ends, request by request
    statuses: list[int] = field(default_factory=list)  # answers in place of the file, request by request
    leads_to: str | None = None
    silent: bool = False  # sends half, then nothing more
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Publisher:
    address: str
    offers: dict[str, Offer]
    asked: list[tuple[str, dict[str, str]]]  # path and headers of every GET
    closing: Event

    def ranges(self) -> list[str | None]:
        """The Range of every GET."""
        return [headers.get("Range") for _, headers in self.asked]


def in_cache(cache: Path, room: int | None = None) -> None:
    """For a process of its own: where the cache is, and how long a file may become, as on a disk that fills up."""
    os.environ.update(LDSMC_CACHE=str(cache), no_proxy="*")
    if room is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))


@contextmanager
def publisher(**offers: Offer) -> Iterator[Publisher]:
    """Serve `offers`, each at the path of its name, with `_` for the dot."""
    paths = {"/" + name.replace("_", "."): offer for name, offer in offers.items()}
    served = Publisher("", paths, [], Event())

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            if self.command == "GET":
                served.asked.append((self.path, dict(self.headers)))
            offer = paths.get(self.path, Offer(statuses=[404]))
            if offer.leads_to:
                self.answer(302, {"Location": offer.leads_to, "Content-Length": "0"})
            elif offer.statuses:
                status = offer.statuses.pop(0) if self.path in paths else 404
                self.answer(status, {"Content-Length": "0"})
            else:
                self.give(offer)

        def give(self, offer: Offer) -> None:
            headers = {"Content-Type": offer.kind} | ({"ETag": offer.etag} if offer.etag else {})
            total, begin, status = len(offer.data), 0, 200
            span = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            validator = offer.etag or offer.headers.get("Last-Modified")
            if offer.ranges and span and self.headers.get("If-Range", validator) == validator:
                begin, status = int(span[1]), 206
                if begin >= total:
                    return self.answer(416, {"Content-Range": f"bytes */{total}", "Content-Length": "0"})
                headers["Content-Range"] = f"bytes {begin}-{total - 1}/{total}"
            if offer.size:
                headers["Content-Length"] = str(total - begin)
            self.answer(status, headers | offer.headers)
            if self.command == "HEAD":
                return
            body = offer.data[begin:]
            end = offer.cuts.pop(0) if offer.cuts else len(body) // 2 if offer.silent else len(body)
            self.wfile.write(body[:end])
            if offer.silent:
                self.wfile.flush()
                served.closing.wait(10)

        def answer(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that goes away, as one that lost its patience does, is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    served.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield served
    finally:
        served.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
