"""CIFAR-10: small colour photographs of ten kinds with the published split."""

from __future__ import annotations

import io
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from reprogram.files import find_file
from reprogram.tasks.base import Task
from reprogram.tasks.build import Samples, make_task
from reprogram.tasks.published import held, reading
from reprogram.types import UserError

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
ARCHIVE = "cifar10/cifar-10-binary.tar.gz"
URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"  # plain bytes, no pickle
SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
_RECORD = 1 + 3 * 32 * 32  # the label, then the red, green and blue planes


def load_cifar10(*, seed: int = 0) -> Task:
    """32x32 colour photographs of ten kinds, airplane to truck, with the published split.

    The binary archive of 50,000 training and 10,000 test images is looked for as
    ``cifar10/cifar-10-binary.tar.gz`` under ``$REPROGRAM_DATA`` and in the user cache. Failing
    that, a folder ``cifar10_jpg/`` there with ``train_CLASS.zip`` and ``test_CLASS.zip`` of image
    files serves as a sub-sample, and the task's notes say so. Otherwise the archive is downloaded.
    The ``python`` version of the archive is a pickle and is not read.

    Arguments:
        seed: Of the validation cut.

    References:
        Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.

    Raises:
        UserError: if a file is not here and cannot be downloaded, or is damaged.
    """
    notes = ()
    if archive := held(ARCHIVE):
        train, test = _binary(archive[0])
    elif zips := held(*(f"cifar10_jpg/{part}_{name}.zip" for part in ("train", "test")
                        for name in CLASSES)):  # fmt: skip
        train, test = _zipped(zips[:10], "train"), _zipped(zips[10:], "test")
        notes = (f"data: a JPEG-coded sub-sample of CIFAR-10, {len(train.inputs)} training and "
                 f"{len(test.inputs)} test images; the coding costs accuracy",)  # fmt: skip
    else:
        train, test = _binary(find_file(ARCHIVE, url=URL, sha256=SHA256))
    task = make_task("cifar10", "image", train, test=test, seed=seed)
    return replace(task, notes=(*notes, *task.notes))


def _binary(path: Path) -> tuple[Samples, Samples]:
    """Training and test samples of the binary archive."""
    parts: dict[str, list[np.ndarray]] = {"train": [], "test": []}
    with reading(path, "the binary CIFAR-10 archive"), tarfile.open(path) as archive:
        names = {Path(name).name: name for name in archive.getnames()}
        for part, files in (
            ("train", [f"data_batch_{i}.bin" for i in range(1, 6)]),
            ("test", ["test_batch.bin"]),
        ):
            for file in files:
                if file not in names:
                    raise UserError(f"file {path} holds no {file}; delete it, or replace it with "
                                    "the published binary version")  # fmt: skip
                handle = archive.extractfile(names[file])
                raw = np.frombuffer(handle.read() if handle else b"", np.uint8)
                if len(raw) == 0 or len(raw) % _RECORD:
                    raise UserError(f"file {path}: {file} holds {len(raw)} bytes, no whole number "
                                    f"of records of {_RECORD}; replace the archive")  # fmt: skip
                parts[part].append(raw.reshape(-1, _RECORD))
    train, test = (np.concatenate(parts[part]) for part in ("train", "test"))
    return _records(train, "train", path), _records(test, "test", path)


def _records(records: np.ndarray, part: str, path: Path) -> Samples:
    labels, pixels = records[:, 0], records[:, 1:].reshape(-1, 3, 32, 32)
    if labels.max() >= len(CLASSES):
        raise UserError(f"file {path}: a {part} record has label {labels.max()}, and CIFAR-10 has "
                        "0 to 9; replace the archive")  # fmt: skip
    rows = [f"cifar10:{part}[{i}]" for i in range(len(records))]
    return Samples(pixels.copy(), [CLASSES[label] for label in labels], rows)


def _zipped(paths: list[Path], part: str) -> Samples:
    """The images of one zip a class."""
    from PIL import Image

    pixels, labels, rows = [], [], []
    for path, name in zip(paths, CLASSES, strict=True):
        with reading(path, "a zip of 32x32 images"), zipfile.ZipFile(path) as archive:
            for file in sorted(f for f in archive.namelist() if not f.endswith("/")):
                with Image.open(io.BytesIO(archive.read(file))) as image:
                    pixels.append(np.asarray(image.convert("RGB")).reshape(32, 32, 3))
                labels.append(name)
                rows.append(f"cifar10:{part}/{name}/{Path(file).name}")
    if not pixels:
        raise UserError(f"the zips beside {paths[0]} hold no images; replace them")
    return Samples(np.stack(pixels).transpose(0, 3, 1, 2), labels, rows)
