"""A stand-in for W&B's server, of a few requests: it keeps what runs send and says where a resumed one goes on."""

import gzip
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

KEY = "0" * 40
VIEWER = {"id": "u", "entity": "me", "username": "me", "email": "me@example.com", "flags": "{}", "teams": {"edges": []}}
PROJECT = {"id": "p", "name": "ldsmc_bench", "entity": {"id": "e", "name": "me"}}


class Server(ThreadingHTTPServer):
    """`history` has the lines of each run by their number, `twice` those that came again, `views` the workspaces."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.history: dict[str, dict[int, dict[str, Any]]] = {}
        self.twice: list[tuple[str, int]] = []
        self.summary: dict[str, dict[str, Any]] = {}
        self.views: list[dict[str, Any]] = []

    @property
    def environment(self) -> dict[str, str]:
        """Of a process that shall find this server in the place of W&B's."""
        return {"WANDB_BASE_URL": f"http://127.0.0.1:{self.server_port}", "WANDB_API_KEY": KEY}

    def answer(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        run = variables.get("name")
        match operation:
            case "Viewer" | "GetDefaultEntity":
                return {"viewer": VIEWER}
            case "RunResumeStatus":
                lines = self.history.get(str(run))
                return {"model": PROJECT | {"bucket": self._bucket(str(run), lines) if lines else None}}
            case "UpsertBucket":
                bucket = {"id": "b", "name": run, "displayName": run, "config": "{}", "project": PROJECT}
                return {"upsertBucket": {"bucket": bucket, "inserted": run not in self.history}}
            case "UpsertView2" if variables["entityName"] != "nobody":
                self.views.append(variables)
                return {"upsertView": {"view": {"id": "v", "name": "nw-abc-v"}, "inserted": True}}
        raise NotImplementedError(operation)

    def _bucket(self, run: str, lines: dict[int, dict[str, Any]]) -> dict[str, Any]:
        last = json.dumps([json.dumps(lines[max(lines)])])
        return {
            **{"id": "b", "name": run, "displayName": run, "config": "{}", "tags": [], "notes": ""},
            **{"historyLineCount": max(lines) + 1, "historyTail": last, "eventsLineCount": 0, "eventsTail": "[]"},
            **{"logLineCount": 0, "summaryMetrics": json.dumps(self.summary.get(run, {})), "wandbConfig": '{"t": 1}'},
        }

    def stream(self, run: str, files: dict[str, Any]) -> None:
        """Lines of a file of a run, from an offset on, as W&B's file stream has them."""
        history = files.get("wandb-history.jsonl", {"offset": 0, "content": []})
        for number, line in enumerate(history["content"], start=history["offset"]):
            if number in self.history.setdefault(run, {}):
                self.twice.append((run, number))
            self.history[run][number] = json.loads(line)
        for line in files.get("wandb-summary.json", {"content": []})["content"]:
            self.summary[run] = json.loads(line)


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        content = json.loads(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
        reply: dict[str, Any] = {}
        if self.path == "/graphql":
            operation = re.search(r"(?:query|mutation)\s+(\w+)", content["query"])
            try:
                reply = {"data": self.server.answer(operation[1] if operation else "", content.get("variables") or {})}
            except NotImplementedError:
                reply = {"errors": [{"message": "refused"}]}
        elif self.path.endswith("/file_stream"):
            self.server.stream(self.path.split("/")[-2], content.get("files") or {})
        text = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
