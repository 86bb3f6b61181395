"""Raw files of published tasks: as they lie here, or as they are published."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reprogram.files import find_file
from reprogram.types import UserError


def held(*relatives: str) -> list[Path] | None:
    """The paths of raw files that are all here; ``None`` if one is not. Nothing is downloaded.

    Example:
        >>> held("no/such.file") is None
        True
    """
    try:
        return [find_file(relative) for relative in relatives]
    except UserError:
        return None


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Whatever a decoder raises over a damaged file, as one line.

    Raises:
        UserError: naming the file, in place of any other exception.

    Example:
        >>> with reading(Path("labels.gz"), "gzip"):
        ...     raise EOFError("ended early")
        Traceback (most recent call last):
        reprogram.types.UserError: file labels.gz cannot be read as gzip (ended early); ...
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # zlib, zipfile, tarfile, PIL, numpy: one family each
        told = " ".join(str(error).split())[:160] or type(error).__name__
        raise UserError(f"file {path} cannot be read as {what} ({told}); "
                        "delete it, or replace it with the published one") from error  # fmt: skip
