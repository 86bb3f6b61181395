"""Problems of the UCR and UEA archives of time series, by name."""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
import tempfile
from dataclasses import replace
from pathlib import Path

from reprogram.files import DATA, atomic_directory, cache_folder
from reprogram.tasks.base import Task
from reprogram.tasks.build import Samples, make_task
from reprogram.tasks.series import read_ts, read_ucr, suffix_of
from reprogram.types import UserError, nearest

_SUFFIXES = (".tsv.gz", ".tsv", ".ts", ".ts.gz")
_VARIANTS = ("_eq_nmv", "_eq", "_nmv", "")  # the archive's own, of one length and without gaps


def load_ucr(name: str, *, seed: int = 0) -> Task:
    """A problem of the UCR (or UEA) archive with its published split.

    Looked for among the problems that come with aeon, then in ``ucr/NAME/`` under
    ``$REPROGRAM_DATA`` and in the user cache; otherwise downloaded by aeon. Where the archive has
    a version of equal lengths without missing values, that is the one.

    Arguments:
        name: The archive's name of the problem, such as ``"GunPoint"``.
        seed: Of the validation cut.

    References:
        Dau et al., The UCR Time Series Archive, 2019 (arXiv:1810.07758).

    Raises:
        UserError: if the archive has no such problem, or it is not here and cannot be downloaded.
    """
    train, test = _find(name) or _download(name)
    task = make_task(f"ucr:{name}", "series", read_series(train), test=read_series(test), seed=seed)
    if train.name.startswith(f"{name}_TRAIN"):
        return task
    note = f"data: the archive's version {train.name}, of one length and without missing values"
    return replace(task, notes=(note, *task.notes))


def read_series(path: Path, name: str | None = None, length: int | None = None) -> Samples:
    """A ``.ts`` file, or a ``.tsv`` in the archive's layout, plain or gzipped."""
    name = name or path.name
    return read_ts(path, name) if suffix_of(path) == ".ts" else read_ucr(path, name, length)


def _folders() -> list[Path]:
    """Where problems may lie, each in a folder of its name."""
    aeon = importlib.util.find_spec("aeon")  # not imported: that takes seconds
    bundled = [
        Path(p) / "datasets" / "data" for p in (aeon and aeon.submodule_search_locations) or ()
    ]
    root = os.environ.get(DATA)
    return [*bundled, *([Path(root, "ucr")] if root else []), cache_folder() / "ucr"]


def _find(name: str) -> tuple[Path, Path] | None:
    """The two files of a problem that is here."""
    if not re.fullmatch(r"\w+", name):
        return None
    for folder in _folders():
        for variant in _VARIANTS:
            for suffix in _SUFFIXES:
                pair = [folder / name / f"{name}{variant}_{s}{suffix}" for s in ("TRAIN", "TEST")]
                if all(path.is_file() for path in pair):
                    return pair[0], pair[1]
    return None


def _here() -> set[str]:
    """Problems that need no download."""
    return {
        path.name
        for folder in _folders()
        if folder.is_dir()
        for path in folder.iterdir()
        if _find(path.name)
    }


def _download(name: str) -> tuple[Path, Path]:
    place = cache_folder() / "ucr" / name
    where = f"put {name}_TRAIN and {name}_TEST, .tsv.gz or .ts, into ${DATA}/ucr/{name}"
    try:
        from aeon.datasets import load_classification
        from aeon.datasets.tsc_datasets import tsc_zenodo
    except ImportError as error:
        raise UserError(f"task 'ucr:{name}' is not here, and aeon downloads the archive: "
                        f"pip install 'reprogram[series]', or {where}") from error  # fmt: skip
    if name not in tsc_zenodo:
        close = difflib.get_close_matches(name, tsc_zenodo, n=3, cutoff=0.6)
        raise nearest("UCR problem", name, {*_here(), *close})
    try:
        with tempfile.TemporaryDirectory() as folder:
            load_classification(name, extract_path=folder)
            with atomic_directory(place) as temporary:
                for path in Path(folder, name).glob("*_T*.ts"):
                    (temporary / path.name).write_bytes(path.read_bytes())
    except UserError:
        raise
    except Exception as error:  # aeon passes on whatever the network raised
        told = " ".join(str(error).split())[:160]
        raise UserError(f"task 'ucr:{name}' could not be downloaded by aeon ({told}); "
                        f"{where}") from error  # fmt: skip
    found = _find(name)
    if found is None:
        raise UserError(f"task 'ucr:{name}': the download holds no {name}_TRAIN.ts; {where}")
    return found
