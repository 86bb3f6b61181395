"""Credit-card transactions, some of them fraud."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from reprogram.files import find_file
from reprogram.tasks.base import Task
from reprogram.tasks.build import Samples, make_task
from reprogram.tasks.tables import read_table
from reprogram.types import UserError

FILE = "creditcard_fraud/creditcard_sample.csv"
URL = (
    "https://raw.githubusercontent.com/jaehyeongAN/Credit-Card-Fraud-Detection/"
    "173b540b35933abfa2982b433d35370d8d62f6bc/data/creditcard_sample.csv"
)
SHA256 = "2942d1f71d326ef41f8092c4affdb9a8aee8982599d5345df3ecaea29c4ef377"
CLASSES = ("normal", "fraud")  # the second is the positive one of PR-AUC and F1
COLUMNS = 30


def load_fraud(*, seed: int = 0) -> Task:
    """1,703 card transactions, 28.5 % of them fraud: a table of 30 columns as they stand.

    Seconds since the first transaction, 28 principal components and the amount; neither is
    transformed. All 492 frauds of the ULB set and a sample of the rest, so that the base rate is
    not that of life. The index column and 19 repeated rows are dropped. Split 64/16/20, stratified
    and seeded.

    Arguments:
        seed: Of the cuts.

    References:
        Dal Pozzolo, Caelen, Johnson & Bontempi, Calibrating Probability with Undersampling for
        Unbalanced Classification, 2015.

    Raises:
        UserError: if the file is not here and cannot be downloaded, or is another.
    """
    path = find_file(FILE, url=URL, sha256=SHA256)
    table = read_table(path, path.name, "Class", labelled=True)
    inputs = np.asarray(table.inputs)[:, 0]  # (n, columns)
    if inputs.shape[1] != COLUMNS or not {*table.labels} <= {"0", "1"}:
        raise UserError(f"file {path} has {inputs.shape[1]} columns of numbers beside 'Class', "
                        f"expected {COLUMNS} and classes 0 and 1; replace it")  # fmt: skip
    first = np.sort(np.unique(inputs, axis=0, return_index=True)[1])
    samples = Samples(
        inputs[first],
        [CLASSES[int(table.labels[i])] for i in first],
        [f"fraud[{i}]" for i in first],
    )
    task = make_task("fraud", "table", samples, classes=CLASSES, seed=seed)
    note = f"data: {len(inputs) - len(first)} repeated rows and the index column dropped"
    return replace(task, notes=(note, *task.notes))
