"""Files of time series: the UCR archive's ``.tsv`` and the ``.ts`` of aeon and sktime."""

from __future__ import annotations

import gzip
import zlib
from collections import Counter
from pathlib import Path

import torch
from torch import Tensor

from reprogram.tasks.build import Samples, check_finite
from reprogram.types import UserError


def read_text(path: Path) -> str:
    """The text of a file, plain or gzipped.

    Raises:
        UserError: if it is empty or not UTF-8 text.
    """
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix.lower() == ".gz" else raw).decode("utf-8-sig")
    except (UnicodeDecodeError, zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise UserError(f"file {path} is not UTF-8 text ({error}); save it as such") from error
    except OSError as error:
        raise UserError(f"file {path} cannot be read: {error.strerror}") from error
    if "\0" in text:
        raise UserError(f"file {path} is not text; is it another kind of file?")
    if not text.strip():
        raise UserError(f"file {path} is empty; it must hold one sample a line")
    return text


def suffix_of(path: Path) -> str:
    """A file's last suffix in small letters, before any ``.gz``."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    return suffixes[-1] if suffixes else ""


def numbers(cells: list[str]) -> list[float] | None:
    """The cells as numbers (NaN and infinity are numbers too); ``None`` if one is none."""
    try:
        values = [float(cell) for cell in cells]
    except ValueError:
        return None
    return None if any("_" in cell for cell in cells) else values  # Python takes 1_000


def is_ucr(text: str) -> bool:
    """Whether tab-separated text has the archive's layout: no header, numbers only."""
    first = next(line for line in text.splitlines() if line.strip())
    return numbers(first.rstrip().split("\t")) is not None


def read_ucr(path: Path, name: str, length: int | None = None) -> Samples:
    """A UCR ``.tsv`` or ``.tsv.gz``: the label, then the series, on each line.

    Arguments:
        path: The file.
        name: How rows call the file.
        length: If every line has just so many values, they are series without labels.

    Raises:
        UserError: if a cell is no number, a line has another length, or a value is missing.
    """
    lines = enumerate(read_text(path).splitlines(), start=1)
    cells = {
        f"{name}:{number}": line.rstrip().split("\t") for number, line in lines if line.strip()
    }
    unlabelled = length is not None and all(len(row) == length for row in cells.values())
    labels = None if unlabelled else [row.pop(0) for row in cells.values()]
    rows = list(cells)
    return Samples(stack([[_values(cells[row], row)] for row in rows], rows), labels, rows)


def read_ts(path: Path, name: str) -> Samples:
    """A ``.ts`` file: after ``@data``, channels split by ``:``, values by ``,``, the label last.

    Raises:
        UserError: if it has no ``@data``, holds time stamps, lengths or channels differ, a value
            is missing (``?``) or no number, or a label was not declared.
    """
    header: dict[str, list[str]] = {}
    rows, labels, samples = [], [], []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        line = line.strip()
        if not line or line[0] in "#%":
            continue
        if "data" not in header:
            if not line.startswith("@"):
                raise UserError(
                    f"file {path}, line {number} stands before @data; is it a .ts file?"
                )
            key, *words = line[1:].split()
            header[key.casefold()] = words
            if key.casefold() == "data" and _true(header, "timestamps"):
                raise UserError(f"file {path} has time stamps; write evenly spaced values instead")
            continue
        rows.append(f"{name}:{number}")
        channels = line.split(":")
        if _true(header, "classlabel"):
            labels.append(channels.pop().strip())
            declared = header["classlabel"][1:]
            if declared and labels[-1] not in declared:
                raise UserError(f"row {rows[-1]} has label {labels[-1]!r}, which @classLabel does "
                                f"not name: {' '.join(declared)}")  # fmt: skip
        elif _true(header, "targetlabel"):
            channels.pop()  # a number to regress: no class
        samples.append([_values(channel.split(","), rows[-1]) for channel in channels])
    if "data" not in header:
        raise UserError(f"file {path} has no @data line; is it a .ts file?")
    if not samples:
        raise UserError(f"file {path} has nothing after @data; one sample a line must follow")
    return Samples(stack(samples, rows), labels or None, rows)


def stack(samples: list[list[list[float]]], rows: list[str]) -> Tensor:
    """Samples of channels of values as one tensor (n, channels, length), checked.

    Raises:
        UserError: if a row has another number of channels or values than most, or a value is not
            finite.
    """
    channels = Counter(len(sample) for sample in samples).most_common(1)[0][0]
    length = Counter(len(channel) for sample in samples for channel in sample).most_common(1)[0][0]
    for row, sample in zip(rows, samples, strict=True):
        if len(sample) != channels:
            raise UserError(f"row {row} has {len(sample)} channels, expected {channels} as in "
                            "most rows")  # fmt: skip
        for channel in sample:
            if len(channel) != length:
                raise UserError(f"row {row} has {len(channel)} values, expected {length} as in "
                                "most rows; cut or resample series to one length")  # fmt: skip
    if length == 0:
        raise UserError(f"row {rows[0]} has a label but no values; is the file tab-separated?")
    inputs = torch.tensor(samples, dtype=torch.float32)
    check_finite(inputs, rows)
    return inputs


def _true(header: dict[str, list[str]], key: str) -> bool:
    return header.get(key, ["false"])[:1] == ["true"]


def _values(cells: list[str], row: str) -> list[float]:
    values = numbers(cells)
    if values is not None:
        return values
    index, bad = next((i, c.strip()) for i, c in enumerate(cells, 1) if numbers([c]) is None)
    told = "missing" if bad in ("", "?") else f"{bad!r}, which is no number"
    raise UserError(f"row {row}, value {index} is {told}; fill it in or remove the row")
