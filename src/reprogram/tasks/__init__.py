"""Target tasks: loaders, splits, user files, metrics."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from reprogram.tasks.base import LazyInputs, Split, Task
from reprogram.tasks.build import Samples, make_task
from reprogram.tasks.cells import load_cells
from reprogram.tasks.cifar10 import load_cifar10
from reprogram.tasks.counting import load_counting
from reprogram.tasks.digits import load_digits
from reprogram.tasks.draw import load_draw
from reprogram.tasks.fraud import load_fraud
from reprogram.tasks.grow import load_grow
from reprogram.tasks.infill import load_infill
from reprogram.tasks.metrics import METRICS, metrics
from reprogram.tasks.mnist import load_mnist
from reprogram.tasks.molecules import load_bbbp, load_hiv, load_tox21
from reprogram.tasks.names import load_names
from reprogram.tasks.omniglot import load_omniglot
from reprogram.tasks.options import GENERAL, check_options, joined, split_name
from reprogram.tasks.pneumonia import load_pneumonia
from reprogram.tasks.sentences import load_rte, load_sst2, load_trec
from reprogram.tasks.splice import load_splice
from reprogram.tasks.ucr import load_ucr
from reprogram.tasks.user import KINDS, Reading, load_file, read
from reprogram.types import UserError, nearest

TASKS: Mapping[str, tuple[Callable[..., Task], str]] = MappingProxyType(
    {
        "digits": (load_digits, "handwritten digits, 8x8 pixels, 10 classes, with scikit-learn"),
        "mnist": (load_mnist, "handwritten digits, 28x28 pixels, 10 classes, published split"),
        "counting": (
            load_counting,
            "1 to 10 white squares, 36x36 pixels, to be counted; drawn here",
        ),
        "cifar10": (
            load_cifar10,
            "photographs, 32x32 pixels in colour, 10 classes, published split",
        ),
        "pneumonia": (load_pneumonia, "chest X-rays, 28x28 pixels, normal or pneumonia (MedMNIST)"),
        "omniglot": (
            load_omniglot,
            "few-shot characters, as omniglot?ways=20&shots=5&alphabet=Greek",
        ),
        "fraud": (load_fraud, "card transactions, a table of 30 columns, normal or fraud"),
        "names": (
            load_names,
            "surnames of 18 nationalities; of 5: names?classes=5",
        ),
        "trec": (load_trec, "questions by what they ask for, 6 classes; 50: trec?labels=fine"),
        "sst2": (load_sst2, "sentences of film reviews, negative or positive, published splits"),
        "rte": (load_rte, "pairs of sentences: does the first entail the second?"),
        "splice": (load_splice, "DNA of 60 nucleotides: an exon ends, begins, or neither"),
        "bbbp": (load_bbbp, "molecules: do they pass the blood-brain barrier? scaffold split"),
        "hiv": (load_hiv, "molecules: do they inhibit HIV? 41,120, as hiv?limit=4000"),
        "tox21": (load_tox21, "molecules in 12 assays of toxicity, with gaps; scaffold split"),
        "infill:NAME": (
            load_infill,
            "the texts of a task with places left out, as infill:splice?start=25&stop=35",
        ),
        "draw:NAME": (
            load_draw,
            "images wanted of the classes of a task, as draw:mnist?share=0.01&noise=0.4",
        ),
        "cells:NAME": (
            load_cells,
            "images whose every cell is to say a class, as cells:mnist?say=8",
        ),
        "grow:NAME": (load_grow, "a picture to be grown, as grow:lizard_no_tail or grow:FILE.png"),
        "ucr:NAME": (load_ucr, "a problem of the UCR archive of time series, as ucr:GunPoint"),
    }
)
"""Loader and description of each named task; ``NAME`` stands for what follows the colon."""


def load(task: str, *, label: str = "label", seed: int = 0, **options: Any) -> Task:
    """A target task by its name, or of the user's own files.

    Options may stand in the name, ``mnist?limit=5000&test=2000``, or be given by keyword; the name
    in the task's specification holds both, so that a saved program finds the same task again.

    Arguments:
        task: A name of :data:`TASKS`, or the path of a file or folder
            (see :func:`~reprogram.tasks.user.load_file`), with options behind a question mark.
        label: The label column of a table.
        seed: Of the cuts that are not published, and of what is left out.
        options: ``limit``, ``validation`` and ``test``, at most so many rows of train, validation
            and test (stratified; see :meth:`~reprogram.tasks.base.Task.limit`); and what the loader
            takes besides, such as ``size`` of a folder of images.

    Raises:
        UserError: if there is no such task, file or option, or the data are not fit to learn from.

    Example:
        >>> load("digits?limit=100").spec.name
        'digits?limit=100'
        >>> load("digit")
        Traceback (most recent call last):
        reprogram.types.UserError: unknown task 'digit'; did you mean 'digits'? Known: ...
    """
    base, told = split_name(task)
    told |= options
    prefix, colon, argument = base.partition(":")
    name = f"{prefix}:NAME" if colon else base
    given: dict[str, Any] = {"seed": seed} | told
    if name in TASKS:
        loader, arguments = TASKS[name][0], [argument] if colon else []
    elif os.path.exists(os.path.expanduser(base)) or _like_path(base):
        loader, arguments = load_file, [base]
        given = {"label": label} | given
    else:
        raise UserError(f"{nearest('task', base, TASKS)}, or the path of a file or folder")
    check_options(base, loader, given)
    limits = {option: given.pop(option, None) for option in GENERAL}
    loaded = loader(*arguments, **given)
    loaded = loaded.limit(
        limits["limit"], given["seed"], validation=limits["validation"], test=limits["test"]
    )
    spec = replace(loaded.spec, name=joined(loaded.spec.name, told))
    return replace(loaded, spec=spec)


def _like_path(task: str) -> bool:
    return re.search(r"[/\\.~]", task) is not None and re.match(r"\w\w+:", task) is None


__all__ = [
    "KINDS",
    "METRICS",
    "TASKS",
    "LazyInputs",
    "Reading",
    "Samples",
    "Split",
    "Task",
    "load",
    "load_bbbp",
    "load_cells",
    "load_cifar10",
    "load_counting",
    "load_digits",
    "load_draw",
    "load_file",
    "load_fraud",
    "load_grow",
    "load_hiv",
    "load_infill",
    "load_mnist",
    "load_names",
    "load_omniglot",
    "load_pneumonia",
    "load_rte",
    "load_splice",
    "load_sst2",
    "load_tox21",
    "load_trec",
    "load_ucr",
    "make_task",
    "metrics",
    "read",
]
