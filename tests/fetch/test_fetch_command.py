"""`python -m ldsmc_bench fetch`: what it brings where, what it says, and how it exits."""

import fcntl
import hashlib
import io
import json
import time
import zipfile
from functools import partial
from pathlib import Path
from threading import Thread

import pytest

from ldsmc_bench.errors import UserError
from ldsmc_bench.fetch.__main__ import main
from ldsmc_bench.fetch.sources import Source, where
from tests.commands import command
from tests.fetch.publisher import Offer, in_cache, publisher

WEIGHTS = bytes(range(256)) * 500
fetching = partial(command, module="ldsmc_bench.fetch")
HAND = Source("big.pt", "somebody", "https://drive.example/big", None)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


SHA = sha(WEIGHTS)


def net(address: str, sha256: str = "") -> Source:
    return Source("net.pt", "a publisher", "https://page.example", f"{address}/net.pt", sha256=sha256)


def packed(address: str) -> Source:
    return Source("model.ckpt", "a publisher", "https://page.example", f"{address}/faces.zip")


def archive(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in files.items():
            file.writestr(name.replace("_", "."), data)
    return buffer.getvalue()


def error(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that says what went wrong."""
    printed = capsys.readouterr().err
    (line,) = [line for line in printed.replace("\r", "\n").splitlines() if line.startswith("error: ")]
    assert "Traceback" not in printed
    return line


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


def test_files_of_several_sources_come_into_one_cache_and_a_second_time_does_nothing(cache, capsys):
    with publisher(
        net_pt=Offer(WEIGHTS), faces_zip=Offer(archive(model_ckpt=b"weights", config_yaml=b"a: 1"))
    ) as server:
        sources = {"metric=net": net(server.address), "prior=faces": packed(server.address)}
        assert main(["metric=net", "prior=faces"], sources) == 0
        first = capsys.readouterr()
        stamps = {path: path.stat().st_mtime_ns for path in cache.rglob("*.*") if path.name != ".fetching"}
        assert main(["metric=net", "prior=faces"], sources) == 0
        second = capsys.readouterr()
    assert len(server.asked) == 2
    assert sorted(path.relative_to(cache).as_posix() for path in stamps) == [
        "digests.json",
        "metrics/net/net.pt",
        "weights/faces/config.yaml",
        "weights/faces/model.ckpt",
    ]
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert first.out == second.out
    assert (
        second.out.splitlines()[0] == f"metric=net: complete, 128 kB, SHA-256 {SHA[:16]}…: {cache}/metrics/net/net.pt"
    )
    assert first.err == second.err == ""  # the bar is for terminals
    assert where("metric=net", sources).read_bytes() == WEIGHTS
    assert where("prior=faces", sources).read_bytes() == b"weights"
    digests = json.loads((cache / "digests.json").read_text())
    assert digests["metrics/net/net.pt"] | {"first": ""} == {
        "sha256": SHA,
        "bytes": len(WEIGHTS),
        "from": f"{server.address}/net.pt",
        "first": "",
    }
    assert digests.keys() == {"metrics/net/net.pt", "weights/faces/model.ckpt", "weights/faces/faces.zip"}


def test_an_absent_file_is_one_line_with_the_command(cache):
    with pytest.raises(UserError) as caught:
        where("metric=niqe")
    path = cache / "metrics" / "niqe" / "niqe_pris_params.npz"
    assert str(caught.value) == f"metric=niqe is not in the cache ({path}): python -m ldsmc_bench fetch metric=niqe"
    assert not cache.exists()


def test_a_wrong_digest_is_refused_and_not_kept(cache, capsys):
    with publisher(net_pt=Offer(WEIGHTS)) as server:
        assert main(["metric=net"], {"metric=net": net(server.address, sha256="0badbeef")}) == 2
        assert "SHA-256 begins with " + SHA[:8] in error(capsys)
        assert list((cache / "metrics" / "net").iterdir()) == []
        assert main(["metric=net"], {"metric=net": net(server.address, sha256=SHA[:8])}) == 0


def test_a_file_that_changed_at_its_publisher_replaces_nothing(cache, capsys):
    changed = WEIGHTS[::-1]
    with publisher(net_pt=Offer(WEIGHTS), faces_zip=Offer(archive(model_ckpt=b"weights"))) as server:
        sources = {"metric=net": net(server.address), "prior=faces": packed(server.address)}
        assert main(["metric=net", "prior=faces"], sources) == 0
        server.offers["/net.pt"].data = changed
        server.offers["/faces.zip"].data = archive(model_ckpt=b"others")
        capsys.readouterr()
        for name in sources:
            assert main([name, "--force"], sources) == 2
            assert "if the publisher changed it, remove" in error(capsys)
        assert where("metric=net", sources).read_bytes() == WEIGHTS
        assert where("prior=faces", sources).read_bytes() == b"weights"
        (cache / "digests.json").unlink()
        assert main([*sources, "--force"], sources) == 0
    assert where("metric=net", sources).read_bytes() == changed
    assert where("prior=faces", sources).read_bytes() == b"others"


def test_a_file_that_was_harmed_in_the_cache_is_noticed_and_replaced(cache, capsys):
    with publisher(net_pt=Offer(WEIGHTS)) as server:
        sources = {"metric=net": net(server.address)}
        assert main(["metric=net"], sources) == 0
        path = where("metric=net", sources)
        path.write_bytes(WEIGHTS[:-1] + b"x")
        capsys.readouterr()
        assert main(["metric=net"], sources) == 2
        assert "to replace it: python -m ldsmc_bench fetch metric=net --force" in error(capsys)
        path.write_bytes(WEIGHTS[:-1])
        with pytest.raises(UserError, match=r"has 127999 bytes instead of 128000.*--force"):
            where("metric=net", sources)
        assert main(["metric=net", "--force"], sources) == 0
        assert where("metric=net", sources).read_bytes() == WEIGHTS


def test_a_killed_unpacking_goes_on_from_the_archive(cache):
    folder = cache / "weights" / "faces"
    folder.mkdir(parents=True)
    (folder / "faces.zip").write_bytes(archive(model_ckpt=b"weights"))
    (folder.parent / ".faces.unpacking").mkdir()
    (folder.parent / ".faces.unpacking" / "half").write_bytes(b"half")
    with publisher() as server:
        assert main(["prior=faces"], {"prior=faces": packed(server.address)}) == 0
    assert server.asked == []
    assert [path.name for path in folder.iterdir()] == ["model.ckpt"]
    assert [path.name for path in folder.parent.iterdir()] == ["faces"]


def test_a_hostile_archive_leaves_the_cache_as_it_was(cache, capsys):
    buffer = io.BytesIO(archive(model_ckpt=b"weights"))
    with zipfile.ZipFile(buffer, "a") as file:
        file.writestr("../../../escaped", b"")
    with publisher(faces_zip=Offer(buffer.getvalue())) as server:
        assert main(["prior=faces"], {"prior=faces": packed(server.address)}) == 2
    assert "leads out of its folder" in error(capsys)
    assert not any(path.name in ("escaped", "model.ckpt") for path in cache.parent.rglob("*"))


def test_what_is_offered_by_hand_only_says_what_goes_where(cache, capsys, tmp_path):
    sources = {"prior=big": HAND}
    folder = cache / "weights" / "big"
    assert main(["prior=big"], sources) == 2
    line = error(capsys)
    assert f"get big.pt from {HAND.page}" in line and f"put it in {folder} " in line
    assert "python -m ldsmc_bench fetch prior=big --from big.pt" in line

    (folder / "big.pt").write_bytes(b"<!DOCTYPE html><title>Google Drive - Virus scan warning</title>")
    assert main(["prior=big"], sources) == 2
    assert "is a web page" in error(capsys)

    (folder / "big.pt").write_bytes(WEIGHTS)  # put there by hand: checked, and known from then on
    assert main(["prior=big"], sources) == 0
    assert json.loads((cache / "digests.json").read_text())["weights/big/big.pt"]["sha256"] == SHA
    (folder / "big.pt").write_bytes(WEIGHTS[1:])
    assert main(["prior=big"], sources) == 2


def test_a_file_that_is_given_is_copied_or_unpacked(cache, capsys, tmp_path):
    given, zipped = tmp_path / "download (1).pt", tmp_path / "z"
    given.write_bytes(WEIGHTS)
    zipped.write_bytes(archive(model_ckpt=b"weights"))
    sources = {"prior=big": HAND, "prior=faces": packed("http://nowhere.example")}
    assert main(["prior=big", "--from", str(given)], sources) == 0
    assert main(["prior=faces", "--from", str(zipped)], sources) == 0
    assert where("prior=big", sources).read_bytes() == given.read_bytes() == WEIGHTS
    assert where("prior=faces", sources).read_bytes() == b"weights"
    assert zipped.exists()
    given.write_bytes(b"<html>sign in</html>")
    assert main(["prior=big", "--force", "--from", str(given)], sources) == 2
    assert "is a web page" in error(capsys)
    assert where("prior=big", sources).read_bytes() == WEIGHTS


def test_a_server_that_wants_a_person_is_one_line_with_what_to_do(cache, capsys):
    offers = {"net_pt": Offer(statuses=[403]), "page_pt": Offer(b"<html></html>", kind="text/html")}
    with publisher(**offers) as server:
        for name in ("net", "page", "absent"):
            source = Source(f"{name}.pt", "a publisher", "https://page.example", f"{server.address}/{name}.pt")
            assert main([f"metric={name}"], {f"metric={name}": source}) == 2
            assert f"get {name}.pt from https://page.example, accept terms if you are asked to" in error(capsys)


def test_what_fails_does_not_keep_the_next_from_coming(cache, capsys):
    with publisher(net_pt=Offer(WEIGHTS)) as server:
        sources = {"prior=big": HAND, "metric=net": net(server.address)}
        assert main(["prior=big", "metric=net"], sources) == 2
    assert "prior=big" in error(capsys)
    assert where("metric=net", sources).exists()


def test_a_silent_server_and_a_cut_file_are_one_line_and_the_same_command_ends_it(cache, capsys):
    with publisher(net_pt=Offer(WEIGHTS, silent=True)) as server:
        sources = {"metric=net": net(server.address)}
        assert main(["metric=net", "--timeout", "0.1"], sources) == 2
        assert "timed out" in error(capsys)
        server.offers["/net.pt"] = Offer(WEIGHTS, cuts=[1] * 6)
        assert main(["--list"], sources) == 0
        assert "begun, " in capsys.readouterr().out
        assert main(["metric=net"], sources) == 2
        assert "give the command again" in error(capsys)
        assert main(["metric=net"], sources) == 0
    assert where("metric=net", sources).read_bytes() == WEIGHTS


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("LDSMC_CACHE", str(tmp_path / "file" / "cache"))
    with publisher(net_pt=Offer(WEIGHTS)) as server:
        assert main(["metric=net"], {"metric=net": net(server.address)}) == 2
    line = error(capsys)
    assert "Not a directory" in line and "LDSMC_CACHE" in line


NIQE = "/XPixelGroup/BasicSR/v1.4.2/basicsr/metrics/niqe_pris_params.npz"


def test_the_command_itself_through_a_mirror(cache, tmp_path):
    with publisher() as server:
        server.offers["/m" + NIQE] = Offer(b"PK parameters")
        done = fetching(tmp_path, "metric=niqe", "--mirror", f"{server.address}/m/", first=partial(in_cache, cache))
    assert done.code == 0, done.err
    assert (
        done.out == f"metric=niqe: complete, 13 bytes, SHA-256 {sha(b'PK parameters')[:16]}…: {where('metric=niqe')}\n"
    )
    assert where("metric=niqe").read_bytes() == b"PK parameters"


def test_a_full_disk_is_one_line_and_the_part_stays(cache, tmp_path):
    with publisher() as server:
        server.offers[NIQE] = Offer(WEIGHTS)
        full = partial(in_cache, cache, 50_000)
        done = fetching(tmp_path, "metric=niqe", "--mirror", server.address, first=full)
    assert done.code == 2
    (line,) = done.errors
    assert "File too large" in line and "LDSMC_CACHE" in line and "Traceback" not in done.err
    assert (cache / "metrics" / "niqe" / "niqe_pris_params.npz.part").read_bytes() == WEIGHTS[:50_000]


def test_two_at_once_fetch_once(cache):
    with publisher(net_pt=Offer(WEIGHTS)) as server:
        sources = {"metric=net": net(server.address)}
        cache.mkdir()
        codes: list[int] = []
        with (cache / ".fetching").open("w") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            threads = [Thread(target=lambda: codes.append(main(["metric=net"], sources))) for _ in range(2)]
            for thread in threads:
                thread.start()
            threads[0].join(0.2)
            assert server.asked == []
        for thread in threads:
            thread.join()
    assert codes == [0, 0]
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["prior=ldm_faces"], "prior=ldm_faces: there is no source of this name; choose from prior=ldm_ffhq, "),
        (["metric=niqe", "--mirror", "mirror.example"], "give an address such as https://"),
        (["metric=niqe", "prior=sd15", "--from", "file"], "name one source"),
        (["metric=niqe", "--from", "no/such/file"], "--from no/such/file: there is no such file"),
    ],
)
def test_a_mistake_is_one_line(cache, capsys, arguments, said):
    assert main(arguments) == 2
    assert said in error(capsys)


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon"])
def test_a_time_out_must_be_a_time(seconds, capsys):
    assert main(["metric=niqe", "--timeout", seconds]) == 2
    assert "--timeout" in capsys.readouterr().err


def test_a_damaged_record_of_digests_is_one_line(cache, capsys):
    cache.mkdir()
    (cache / "digests.json").write_text("{")
    with publisher(net_pt=Offer(WEIGHTS)) as server:
        assert main(["metric=net"], {"metric=net": net(server.address)}) == 2
    assert "digests.json: cannot be read as JSON; remove it" in error(capsys)
    assert main(["--list"]) == 0


def test_help_without_arguments_and_a_list_of_all(cache, capsys):
    assert main([]) == 0
    assert "usage: ldsmc-bench fetch NAME" in capsys.readouterr().out
    (cache / "metrics" / "niqe").mkdir(parents=True)
    (cache / "metrics" / "niqe" / "niqe_pris_params.npz").write_bytes(bytes(11850))
    assert main(["--list"]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "in the cache, 11.8 kB" in rows["metric=niqe"]
    assert "244 MB" in rows["metric=lpips_alex"] and "not yet" in rows["metric=lpips_alex"]
    assert "by hand" in rows["prior=adm_ffhq"] and "drive.google.com" in rows["prior=adm_ffhq"]
    assert rows["cache:"].endswith(str(cache))


def test_an_empty_file_is_no_file(cache, capsys):
    with publisher(net_pt=Offer(b"")) as server:
        assert main(["metric=net"], {"metric=net": net(server.address)}) == 2
    assert "is empty" in error(capsys)
    assert not Path(cache / "metrics" / "net" / "net.pt").exists()
