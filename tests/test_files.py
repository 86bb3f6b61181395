"""Laws of reprogram.files: found where they should be, written whole or not at all."""

import errno
import functools
import hashlib
import http.server
import os
import threading
import time
from contextlib import nullcontext

import pytest

from reprogram import files
from reprogram.files import atomic_directory, atomic_write, find_file
from reprogram.types import UserError

CONTENT = b"raw"
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def places(tmp_path, monkeypatch):
    """$REPROGRAM_DATA and the user cache, both empty."""
    data, cache = tmp_path / "data", tmp_path / "cache"
    data.mkdir()
    monkeypatch.setenv(files.DATA, str(data))
    monkeypatch.setattr(files, "cache_folder", lambda: cache)
    return data, cache


def put(root, relative, content=CONTENT):
    path = root / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_data_folder_before_cache(places):
    data, cache = places
    cached = put(cache, "a/b.bin")
    assert find_file("a/b.bin", sha256=SHA) == cached
    own = put(data, "a/b.bin")
    assert find_file("a/b.bin", sha256=SHA.upper()) == own


def test_without_data_folder(places, monkeypatch):
    monkeypatch.delenv(files.DATA)
    cached = put(places[1], "b.bin")
    assert find_file("b.bin") == cached


def test_other_checksum_is_refused(places):
    path = put(places[0], "b.bin", b"altered")
    with pytest.raises(UserError, match=rf"{path} has sha256 .* expected {SHA[:12]}"):
        find_file("b.bin", sha256=SHA)


@pytest.fixture
def server(tmp_path):
    """Address of a web server with ``b.bin``, and the requests it got."""
    put(tmp_path / "published", "b.bin")
    requests = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format, *args):
            requests.append(args)

    handler = functools.partial(Handler, directory=str(tmp_path / "published"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", requests
        running.shutdown()


def test_downloaded_once(places, server):
    address, requests = server
    for _ in range(2):
        found = find_file("a/b.bin", url=f"{address}/b.bin", sha256=SHA)
        assert found == places[1] / "a/b.bin" and found.read_bytes() == CONTENT
    assert len(requests) == 1 and os.listdir(found.parent) == ["b.bin"]


@pytest.mark.parametrize(
    ("name", "sha256", "reason"), [("b.bin", "0" * 64, "checksum"), ("c.bin", SHA, "HTTPError")]
)
def test_wrong_download_is_not_kept(name, sha256, reason, places, server):
    with pytest.raises(UserError, match=rf"'{name}' could not be downloaded .*{reason}"):
        find_file(f"a/{name}", url=f"{server[0]}/{name}", sha256=sha256)
    assert not os.listdir(places[1] / "a")


@pytest.mark.parametrize("failure", [ConnectionError("no route"), ValueError("hash differs")])
def test_failed_download_says_what_and_where(places, monkeypatch, failure):
    def retrieve(url, known_hash, fname, path):
        put(path, fname, b"half")
        raise failure

    monkeypatch.setattr("pooch.retrieve", retrieve)
    with pytest.raises(UserError, match=r"'b.bin'.*https://example.org/b.*REPROGRAM_DATA/a/b.bin"):
        find_file("a/b.bin", url="https://example.org/b.bin", sha256=SHA)
    assert not list((places[1] / "a").iterdir())


def test_absent_without_url(places):
    with pytest.raises(UserError, match=r"'a/b.bin' is not here; put it at \$REPROGRAM_DATA"):
        find_file("a/b.bin")


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def write(kind, path, content):
    """Write through one of the two writers."""
    if kind == "file":
        with atomic_write(path) as temporary:
            temporary.write_text(content)
    else:
        with atomic_directory(path) as temporary:
            (temporary / "sub").mkdir()
            (temporary / "sub" / "content").write_text(content)


def read(kind, path):
    return (path if kind == "file" else path / "sub" / "content").read_text()


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_writes_and_replaces(kind, tmp_path):
    path = tmp_path / "new" / "result"
    for content in ("first", "second"):
        write(kind, path, content)
        assert read(kind, path) == content
    assert os.listdir(path.parent) == ["result"]


@pytest.mark.parametrize("kind", ["file", "directory"])
@pytest.mark.parametrize("existing", [True, False])
@pytest.mark.parametrize(
    ("step", "raised"),
    [
        ("body", UserError),
        ("fsync", UserError),
        ("rename", UserError),
        ("break", KeyboardInterrupt),
    ],
)
def test_failure_leaves_what_stood(kind, existing, step, raised, tmp_path, monkeypatch):
    path = tmp_path / "result"
    if existing:
        write(kind, path, "old")
    if step == "fsync":
        monkeypatch.setattr(os, "fsync", full_disk)
    if step == "rename":
        monkeypatch.setattr(os, "rename", full_disk)
        monkeypatch.setattr(os, "replace", full_disk)
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    writer = atomic_write if kind == "file" else atomic_directory
    message = None if step == "break" else f"cannot write {path}: the disk is full"
    with pytest.raises(raised, match=message), writer(path) as temporary:
        target = temporary if kind == "file" else temporary / "content"
        target.write_text("new")
        if step == "body":
            full_disk()
        if step == "break":
            raise KeyboardInterrupt
    assert os.listdir(tmp_path) == (["result"] if existing else [])
    assert not existing or read(kind, path) == "old"


@pytest.mark.parametrize("fails", [False, True])
def test_directory_without_exchange(fails, tmp_path, monkeypatch):
    path = tmp_path / "result"
    write("directory", path, "old")
    monkeypatch.setattr(files, "_exchange", lambda *_: False)
    rename, calls = os.rename, []

    def second_fails(one, other):
        calls.append(one)
        if fails and len(calls) == 2:
            full_disk()
        rename(one, other)

    monkeypatch.setattr(os, "rename", second_fails)
    with pytest.raises(UserError, match="disk is full") if fails else nullcontext():
        write("directory", path, "new")
    assert os.listdir(tmp_path) == ["result"]
    assert read("directory", path) == ("old" if fails else "new")


def test_kinds_are_not_confused(tmp_path):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="a folder of that name"), atomic_write(tmp_path / "folder"):
        pass
    with pytest.raises(UserError, match="a file of that name"), atomic_directory(tmp_path / "file"):
        pass
    with (
        pytest.raises(UserError, match="a part of the path"),
        atomic_write(tmp_path / "file" / "x"),
    ):
        pass
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_leftovers_of_a_killed_process_go(tmp_path):
    for token, age in (("00000000", 0), ("00000001", 7200)):
        for name in ("file", "directory"):
            left = tmp_path / f".{token}.{name}"
            left.mkdir() if name == "directory" else left.write_text("half")
            os.utime(left, (time.time() - age,) * 2)
    for kind in ("file", "directory"):
        write(kind, tmp_path / kind, "whole")
    found = [".00000000.directory", ".00000000.file", "directory", "file"]
    assert sorted(os.listdir(tmp_path)) == found


def test_link_stays_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "result")
    write("file", tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "there/result").read_text() == "new"


def test_other_failures_pass_unchanged(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "x"):
        (tmp_path / "absent").read_text()
    with pytest.raises(PermissionError), atomic_write(tmp_path / "x"):
        raise PermissionError(errno.EACCES, "elsewhere", "/elsewhere/file")
