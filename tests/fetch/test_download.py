"""A file over HTTP from a loopback server: whole, resumed, cut, refused, silent."""

import json
import random
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from ldsmc_bench.errors import UserError
from ldsmc_bench.fetch import download as room
from ldsmc_bench.fetch.download import NotOffered, download
from tests.fetch.publisher import Offer, publisher

DATA = random.Random(0).randbytes(300_000)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nobody waits between two tries, and files are small."""
    found: list[float] = []
    monkeypatch.setattr(time, "sleep", found.append)
    monkeypatch.setattr(room, "_CHUNK", 10_000)
    return found


def begun(part: Path, url: str, data: bytes, *, size: int | None = len(DATA), validator: str | None = '"1"') -> None:
    """What a download that was killed leaves."""
    part.write_bytes(data)
    part.with_name(part.name + ".json").write_text(json.dumps({"url": url, "size": size, "validator": validator}))


@pytest.mark.parametrize("size", [True, False], ids=["size said", "size not said"])
def test_a_whole_file(tmp_path, size):
    part = tmp_path / "a.part"
    with publisher(a_pt=Offer(DATA, size=size)) as server:
        download(f"{server.address}/a.pt", part, 5)
    assert part.read_bytes() == DATA
    assert list(tmp_path.iterdir()) == [part]
    assert server.ranges() == [None]


def test_a_cut_connection_goes_on_where_it_was(tmp_path):
    part = tmp_path / "a.part"
    with publisher(a_pt=Offer(DATA, cuts=[100_000, 50_000])) as server:
        download(f"{server.address}/a.pt", part, 5)
    assert part.read_bytes() == DATA
    assert server.ranges() == [None, "bytes=100000-", "bytes=150000-"]
    assert [headers.get("If-Range") for _, headers in server.asked] == ['"1"'] * 3


def test_an_earlier_part_is_resumed_by_its_date_or_by_its_length_alone(tmp_path):
    for date in ("Sun, 01 Mar 2020 00:00:00 GMT", None):
        part = tmp_path / "a.part"
        with publisher(a_pt=Offer(DATA, etag=None, headers={"Last-Modified": date} if date else {})) as server:
            url = f"{server.address}/a.pt"
            begun(part, url, DATA[:1000], validator=date)
            download(url, part, 5)
        assert part.read_bytes() == DATA
        assert server.ranges() == ["bytes=1000-"]
        assert server.asked[0][1].get("If-Range") == date


def test_a_server_without_ranges_starts_again(tmp_path):
    part = tmp_path / "a.part"
    with publisher(a_pt=Offer(DATA, ranges=False)) as server:
        url = f"{server.address}/a.pt"
        begun(part, url, b"x" * 1000)
        download(url, part, 5)
    assert part.read_bytes() == DATA
    assert server.ranges() == ["bytes=1000-"]


@pytest.mark.parametrize("of", ["another address", "nobody knows what", "an older file"])
def test_a_part_of_something_else_is_never_resumed(tmp_path, of):
    part = tmp_path / "a.part"
    with publisher(a_pt=Offer(DATA)) as server:
        older = of == "an older file"
        begun(part, f"{server.address}/{'a' if older else 'b'}.pt", b"x" * 1000, validator='"0"' if older else '"1"')
        if of == "nobody knows what":
            (tmp_path / "a.part.json").unlink()
        download(f"{server.address}/a.pt", part, 5)
    assert part.read_bytes() == DATA
    assert server.ranges() == [None]


@pytest.mark.parametrize(("size", "ranges"), [(True, [None]), (False, ["bytes=1000-", None])])
def test_a_part_longer_than_the_file_starts_again(tmp_path, size, ranges):
    part = tmp_path / "a.part"
    with publisher(a_pt=Offer(DATA[:500], etag=None, size=size)) as server:
        url = f"{server.address}/a.pt"
        begun(part, url, b"x" * 1000, size=500 if size else None, validator=None)
        download(url, part, 5)
    assert part.read_bytes() == DATA[:500]
    assert server.ranges() == ranges


def test_a_part_that_is_whole_asks_nothing(tmp_path):
    part = tmp_path / "a.part"
    with publisher(a_pt=Offer(DATA)) as server:
        url = f"{server.address}/a.pt"
        begun(part, url, DATA)
        download(url, part, 5)
    assert server.asked == []


def test_a_file_that_stays_cut_is_one_line_and_its_part_kept(tmp_path):
    part = tmp_path / "a.part"
    with (
        publisher(a_pt=Offer(DATA, cuts=[30_000] + [10] * 9)) as server,
        pytest.raises(UserError, match=r"where there is a network, give the command again; 30 kB of it are kept"),
    ):
        download(f"{server.address}/a.pt", part, 5)
    assert part.read_bytes() == DATA[:30_000]
    assert len(server.asked) < 10


def test_a_connection_that_brings_something_each_time_is_tried_as_long_as_it_takes(tmp_path):
    part = tmp_path / "a.part"
    with publisher(a_pt=Offer(DATA, cuts=[30_000] * 9)) as server:
        download(f"{server.address}/a.pt", part, 5)
    assert part.read_bytes() == DATA
    assert len(server.asked) == 10


def test_an_answer_that_may_pass_is_waited_for_longer_each_time(tmp_path, pauses):
    with publisher(a_pt=Offer(DATA, statuses=[503, 429])) as server:
        download(f"{server.address}/a.pt", tmp_path / "a.part", 5)
    assert pauses == [1, 2]


@pytest.mark.parametrize(
    ("offer", "said"),
    [
        (Offer(statuses=[404]), "the server answers 404 Not Found"),
        (Offer(statuses=[403]), "the server answers 403 Forbidden"),
        (Offer(b"<html>quota exceeded</html>", kind="text/html; charset=utf-8"), "sends a web page"),
        (Offer(DATA, headers={"Content-Encoding": "gzip"}), "encoded as gzip"),
    ],
)
def test_a_refusal_is_said_at_once(tmp_path, offer, said):
    part = tmp_path / "a.part"
    with publisher(a_pt=offer) as server, pytest.raises(NotOffered, match=said):
        download(f"{server.address}/a.pt", part, 5)
    assert server.asked == []
    assert not part.exists()


def test_a_silent_server_is_not_waited_for_and_what_it_sent_is_kept(tmp_path):
    part = tmp_path / "a.part"
    started = time.monotonic()
    with (
        publisher(a_pt=Offer(DATA, silent=True)) as server,
        pytest.raises(UserError, match="timed out"),
    ):
        download(f"{server.address}/a.pt", part, 0.1)
    assert time.monotonic() - started < 5
    assert len(part.read_bytes()) >= 150_000 and DATA.startswith(part.read_bytes())


def test_no_server_and_no_address(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        with pytest.raises(UserError, match="Connection refused; where there is a network"):
            download(f"http://127.0.0.1:{taken.getsockname()[1]}/a.pt", tmp_path / "a.part", 5)
    with pytest.raises(UserError, match=r"somewhere/a\.pt: .*protocol"):
        download("somewhere/a.pt", tmp_path / "a.part", 5)


def test_redirects_are_followed_with_the_range(tmp_path):
    part = tmp_path / "a.part"
    with publisher(a_pt=Offer(leads_to="/b.pt"), b_pt=Offer(DATA)) as server:
        url = f"{server.address}/a.pt"
        begun(part, url, DATA[:1000])
        download(url, part, 5)
    assert part.read_bytes() == DATA
    assert [(path, headers.get("Range")) for path, headers in server.asked][1] == ("/b.pt", "bytes=1000-")


def test_a_redirect_never_leaves_an_encrypted_connection():
    def answer(*urls: str) -> SimpleNamespace:
        *hops, last = (SimpleNamespace(url=url, status_code=200, headers={}) for url in urls)
        last.history = hops
        return last

    url = "https://publisher.example/a.pt"
    assert room._read_offer(url, answer(url, "https://elsewhere.example/a.pt"))["url"] == url
    for hops in ((url, "http://elsewhere.example/a.pt"), (url, "http://elsewhere.example/b", url)):
        with pytest.raises(NotOffered, match="not encrypted"):
            room._read_offer(url, answer(*hops))


def test_a_file_larger_than_the_disk_is_not_begun(tmp_path):
    part = tmp_path / "a.part"
    huge = Offer(b"x", headers={"Content-Length": str(10**18)}, size=False)
    with (
        publisher(a_pt=huge) as server,
        pytest.raises(UserError, match=r"1000000000.00 GB are to come, but .* LDSMC_CACHE"),
    ):
        download(f"{server.address}/a.pt", part, 5)
    assert not part.exists()
