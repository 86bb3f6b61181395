"""``.npz`` archives of arrays."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from reprogram.tasks.build import Samples
from reprogram.types import InputKind, UserError

_INPUTS, _LABELS = ("x{}", "{}images"), ("y{}", "{}labels")
_PARTS = {
    "train": ("_train", "train_"),
    "validation": ("_validation", "_val", "_valid", "validation_", "val_", "valid_"),
    "test": ("_test", "test_"),
    "": ("",),
}


def read_arrays(path: Path, name: str) -> tuple[InputKind, dict[str, Samples]]:
    """Samples of each part of an archive: ``X_train, y_train, X_test, y_test`` or ``X, y``.

    ``X_val`` and ``y_val`` may be there too, and MedMNIST's ``train_images, train_labels, ...`` are
    read the same. Series are (n, length) or (n, channels, length) numbers; images are uint8,
    (n, height, width) or (n, height, width, 1 or 3). A row is called ``file.npz:X_test[3]``.

    Returns:
        ``"series"`` or ``"image"``, and the parts: ``train``, ``validation``, ``test``, or ``""``
        for ``X``.

    Raises:
        UserError: if it is no archive of arrays, holds pickled objects or none of those names, or
            shapes and types are others.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, TypeError) as error:
        raise UserError(f"file {path} is no .npz of plain arrays ({error}); "
                        "write it with numpy.savez, without objects") from error  # fmt: skip
    keys = {key.casefold(): key for key in arrays}
    kinds, parts = set(), {}
    for part, affixes in _PARTS.items():
        x = next((keys[k] for k in _spelt(_INPUTS, affixes) if k in keys), None)
        y = next((keys[k] for k in _spelt(_LABELS, affixes) if k in keys), None)
        if x is None:
            continue
        kind, inputs = _inputs(arrays[x], f"{x} of {path}")
        labels = None if y is None else _labels(arrays[y], len(inputs), f"{y} of {path}")
        kinds.add(kind)
        parts[part] = Samples(inputs, labels, [f"{name}:{x}[{i}]" for i in range(len(inputs))])
    if not parts:
        raise UserError(f"file {path} holds {', '.join(arrays) or 'nothing'}; "
                        "name its arrays X_train, y_train, X_test, y_test, or X, y")  # fmt: skip
    if len(kinds) > 1:
        raise UserError(f"file {path} holds images and series; put them into two files")
    return kinds.pop(), parts


def _spelt(forms: tuple[str, ...], affixes: tuple[str, ...]) -> list[str]:
    return [form.format(affix) for affix in affixes for form in forms]


def _inputs(array: Any, where: str) -> tuple[InputKind, Any]:
    if array.dtype.kind not in "biuf":
        raise UserError(f"array {where} has type {array.dtype}; numbers are needed")
    if array.dtype == np.uint8 and array.ndim >= 3:
        if array.ndim == 3:
            array = array[..., None]
        if array.ndim == 4 and array.shape[3] in (1, 3):
            return "image", array.transpose(0, 3, 1, 2)  # (n, channels, height, width)
    elif array.ndim in (2, 3):
        array = array.astype(np.float32)
        return "series", array if array.ndim == 3 else array[:, None]
    raise UserError(f"array {where} has shape {array.shape} and type {array.dtype}; series are "
                    "(n, length) or (n, channels, length), images uint8 (n, height, width) or "
                    "(n, height, width, 3)")  # fmt: skip


def _labels(array: Any, count: int, where: str) -> list[Any]:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.shape != (count,):
        raise UserError(f"array {where} has shape {array.shape}, expected ({count},): "
                        "one label a sample")  # fmt: skip
    return array.tolist()
