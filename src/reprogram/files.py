"""Where raw files come from, and how results reach the disk: whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import glob
import hashlib
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from reprogram.types import UserError

DATA = "REPROGRAM_DATA"  # the environment variable that names the folder of raw files


def cache_folder() -> Path:
    """The user cache, where downloads are kept."""
    import pooch

    return Path(pooch.os_cache("reprogram"))


def find_file(relative: str, *, url: str | None = None, sha256: str | None = None) -> Path:
    """The local path of a raw file, downloaded once if it must be.

    Looked for under ``$REPROGRAM_DATA``, then in the user cache; otherwise downloaded there. A
    download appears whole or not at all.

    Arguments:
        relative: Its place below either folder, such as ``"ucr/Coffee/Coffee_TRAIN.tsv.gz"``.
        url: Where it is published; without one it is only looked for.
        sha256: Its checksum in hexadecimal, compared wherever the file is found.

    Raises:
        UserError: if the file is nowhere and cannot be downloaded, or its checksum differs.
    """
    root = os.environ.get(DATA)
    places = [Path(root) / relative] if root else []
    places.append(cache_folder() / relative)
    for place in places:
        if place.is_file():
            _check(place, sha256)
            return place
    where = f"put it at ${DATA}/{relative} or {places[-1]}"
    if url is None:
        raise UserError(f"file {relative!r} is not here; {where}")
    return _download(url, places[-1], sha256, where)


def _download(url: str, place: Path, sha256: str | None, where: str) -> Path:
    import pooch

    known = sha256 and f"sha256:{sha256}"
    pooch.get_logger().setLevel("WARNING")  # the caller reports, one line at a time
    try:
        with atomic_write(place) as temporary:
            pooch.retrieve(url, known, fname=temporary.name, path=temporary.parent)
    except UserError:
        raise
    except Exception as error:  # requests, urllib3, ftplib, sockets: one family each
        reason = "its checksum differs" if isinstance(error, ValueError) else type(error).__name__
        raise UserError(
            f"file {place.name!r} could not be downloaded from {url} ({reason}); {where}"
        ) from error
    return place


def _check(path: Path, sha256: str | None) -> None:
    if sha256 is None:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256.lower():
        raise UserError(f"file {path} has sha256 {found[:12]}..., expected {sha256[:12]}...; "
                        "delete it, or replace it with the published one")  # fmt: skip


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary sibling to write a file to; it takes the place of ``path`` when all went well.

    On any failure the temporary is removed and what stood at ``path`` is untouched.

    Arguments:
        path: Where the file shall stand; missing parent folders are made.

    Raises:
        UserError: if ``path`` is a folder, cannot be written, or the disk is full.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "metrics.json"
        >>> with atomic_write(path) as temporary:
        ...     _ = temporary.write_text("{}")
        >>> path.read_text(), len(list(path.parent.iterdir()))
        ('{}', 1)
    """
    path = Path(os.path.realpath(path))  # through a symbolic link: the link stays
    with _told(path):
        if path.is_dir():
            raise UserError(f"cannot write file {path}: a folder of that name stands there")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _sibling(path)
        try:
            yield temporary
            _sync(temporary)
            os.replace(temporary, path)
            _sync(path.parent)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise


@contextmanager
def atomic_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary sibling folder to fill; it takes the place of ``path`` when all went well.

    Everything in it is synced to the disk first. An existing folder is swapped out in one step
    where the system can (Linux), else renamed aside for the instant between two renames. On any
    failure the temporary is removed and what stood at ``path`` is untouched.

    Arguments:
        path: Where the folder shall stand; missing parent folders are made.

    Raises:
        UserError: if ``path`` is a file, cannot be written, or the disk is full.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "program"
        >>> with atomic_directory(path) as temporary:
        ...     _ = (temporary / "program.json").write_text("{}")
        >>> [file.name for file in path.iterdir()]
        ['program.json']
    """
    path = Path(os.path.realpath(path))
    with _told(path):
        if path.exists() and not path.is_dir():
            raise UserError(f"cannot write folder {path}: a file of that name stands there")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _sibling(path)
        temporary.mkdir()
        try:
            yield temporary
            for folder, _, names in os.walk(temporary):
                for name in names:
                    _sync(Path(folder, name))
                _sync(Path(folder))
            _swap_in(temporary, path)
            _sync(path.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def _sibling(path: Path) -> Path:
    """A new name beside ``path``; what a killed process left there long ago is removed."""
    for left in path.parent.glob(f".{'[0-9a-f]' * 8}.{glob.escape(path.name)}"):
        with suppress(OSError):  # another process may remove it too
            if left.stat().st_mtime < time.time() - 3600:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    return path.with_name(f".{secrets.token_hex(4)}.{path.name}")


def _swap_in(new: Path, path: Path) -> None:
    """Put ``new`` at ``path``, and remove what stood there."""
    if not path.exists():
        os.rename(new, path)
        return
    aside = new.with_name(f"{new.name}.old")
    if _exchange(new, path):
        aside = new
    else:
        os.rename(path, aside)
        try:
            os.rename(new, path)
        except BaseException:
            os.rename(aside, path)
            raise
    shutil.rmtree(aside, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two paths in one system call; False where the system or its file system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return rename is not None and not rename(
        here, os.fsencode(one), here, os.fsencode(other), exchange
    )


def _sync(path: Path) -> None:
    if path.is_symlink() or (path.is_dir() and os.name == "nt"):
        return  # Windows syncs files only
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


_TOLD = {
    errno.ENOSPC: "the disk is full; free some space or choose another folder",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another folder",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.EACCES: "permission denied; choose another folder",
    errno.ENOTDIR: "a part of the path is a file; choose another folder",
    errno.EEXIST: "a part of the path is a file; choose another folder",
}


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Failures that the user can mend, in one line."""
    try:
        yield
    except OSError as error:
        # a file elsewhere that the body failed to read is another story
        at = path if error.filename is None else Path(os.fsdecode(error.filename))
        if error.errno in _TOLD and (at in (path, *path.parents) or path.parent in at.parents):
            raise UserError(f"cannot write {path}: {_TOLD[error.errno]}") from error
        raise
