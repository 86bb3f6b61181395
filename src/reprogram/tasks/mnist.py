"""MNIST: handwritten digits with the published split."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from reprogram.files import find_file
from reprogram.tasks.base import Task
from reprogram.tasks.build import Samples, make_task
from reprogram.tasks.published import held, reading
from reprogram.types import UserError

URL = "https://storage.googleapis.com/cvdf-datasets/mnist/"
SHA256 = {
    "train-images-idx3-ubyte.gz":
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz":
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz":
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz":
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}  # fmt: skip
_PARTS = tuple(f"mnist/train_images_{i}of4.npz" for i in range(4))  # arrays x and y, in order


def load_mnist(*, seed: int = 0) -> Task:
    """70,000 handwritten digits of 28x28 grey pixels: 10,000 published for test.

    Validation is cut from the 60,000 training rows, stratified and seeded. The four ``idx`` files
    are looked for in ``mnist/`` under ``$REPROGRAM_DATA`` and in the user cache (the training
    images also as ``train_images_{0..3}of4.npz``), else downloaded.

    Arguments:
        seed: Of the validation cut.

    References:
        LeCun, Bottou, Bengio & Haffner, Gradient-Based Learning Applied to Document Recognition,
        1998.

    Raises:
        UserError: if a file is not here and cannot be downloaded, or is damaged.
    """
    parts = held(*_PARTS)
    train = _joined(parts) if parts else _split("train")
    return make_task(
        "mnist", "image", _samples(*train, "train"), test=_samples(*_split("t10k"), "test"),
        seed=seed,
    )  # fmt: skip


def read_idx(path: Path) -> np.ndarray:
    """An array of a gzipped ``idx`` file of bytes: uint8, of the shape that its header tells.

    Raises:
        UserError: if the file is cut off, or no such file.
    """
    with reading(path, "gzip"):
        raw = gzip.decompress(path.read_bytes())
    # two zero bytes, the type (8: uint8), the number of axes, each axis as four bytes
    axes = raw[3] if raw[:3] == b"\0\0\x08" and len(raw) > 3 else 0
    shape = np.frombuffer(raw[4 : 4 + 4 * axes], ">u4").tolist() if len(raw) >= 4 + 4 * axes else []
    if not shape or len(raw) - 4 - 4 * axes != int(np.prod(shape)):
        raise UserError(f"file {path} is no idx file of bytes, or cut off; "
                        "delete it, or replace it with the published one")  # fmt: skip
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * axes).reshape(shape)


def _split(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 28, 28) and labels (n,) of ``train`` or ``t10k``."""
    found = []
    for name in (f"{part}-images-idx3-ubyte.gz", f"{part}-labels-idx1-ubyte.gz"):
        # a copy that somebody packed anew has another checksum: it holds for the download alone
        here = held(f"mnist/{name}")
        path = here[0] if here else find_file(f"mnist/{name}", url=URL + name, sha256=SHA256[name])
        found.append(read_idx(path))
    images, labels = found
    if images.shape != (len(labels), 28, 28):
        raise UserError(f"the MNIST {part} files hold images {images.shape} and {len(labels)} "
                        "labels; replace both with the published ones")  # fmt: skip
    return images, labels


def _joined(paths: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    images, labels = [], []
    for path in paths:
        with (
            reading(path, "an .npz of images x and labels y"),
            np.load(path, allow_pickle=False) as archive,
        ):
            images.append(archive["x"].reshape(-1, 28, 28).astype(np.uint8, casting="safe"))
            labels.append(archive["y"].reshape(len(images[-1])))
    return np.concatenate(images), np.concatenate(labels)


def _samples(images: np.ndarray, labels: np.ndarray, part: str) -> Samples:
    rows = [f"mnist:{part}[{i}]" for i in range(len(images))]
    return Samples(images[:, None].copy(), labels, rows)
