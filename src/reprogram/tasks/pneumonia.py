"""PneumoniaMNIST: chest X-rays of children."""

from __future__ import annotations

from dataclasses import replace

from reprogram.files import find_file
from reprogram.tasks.arrays import read_arrays
from reprogram.tasks.base import Task
from reprogram.tasks.build import make_task
from reprogram.tasks.published import held
from reprogram.types import UserError

FILE = "medmnist/pneumoniamnist.npz"
UNION = "medmnist/pneumoniamnist_union.npz"  # the same images put together from two copies
URL = "https://zenodo.org/records/10519652/files/pneumoniamnist.npz?download=1"
CLASSES = ("normal", "pneumonia")


def load_pneumonia(*, seed: int = 0) -> Task:
    """5,856 chest X-rays of 28x28 grey pixels, normal or pneumonia, with the published splits.

    4,708 training, 524 validation and 624 test images, less those of train and validation that
    also stand in a later split. ``pneumoniamnist.npz`` (or ``pneumoniamnist_union.npz``) is looked
    for in ``medmnist/`` under ``$REPROGRAM_DATA`` and in the user cache, else downloaded.

    Arguments:
        seed: Unused, for every split is published; all loaders take one.

    References:
        Yang et al., MedMNIST v2, 2023 (arXiv:2110.14795).

    Raises:
        UserError: if the file is not here and cannot be downloaded, or is another.
    """
    here = held(FILE) or held(UNION)
    path = here[0] if here else find_file(FILE, url=URL)
    kind, parts = read_arrays(path, "pneumonia")
    labels = {label for samples in parts.values() for label in samples.labels or ()}
    if kind != "image" or set(parts) != {"train", "validation", "test"} or labels != {0, 1}:
        raise UserError(f"file {path} holds {', '.join(parts)} of kind {kind!r} and labels "
                        f"{sorted(labels)[:5]}, expected images in three splits and labels 0 and "
                        "1; replace it")  # fmt: skip
    named = {
        part: samples._replace(labels=[CLASSES[label] for label in samples.labels])
        for part, samples in parts.items()
    }
    task = make_task(
        "pneumonia", "image", named["train"], validation=named["validation"], test=named["test"],
        classes=CLASSES, seed=seed,
    )  # fmt: skip
    if path.name != UNION.rpartition("/")[2]:
        return task
    note = "data: put together from two copies, so that the order of rows is not the published one"
    return replace(task, notes=(note, *task.notes))
