"""Controls of texts, sequences and molecules without any source: linear models on their counts."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reprogram.diagnose.classical import chances, reported_split
from reprogram.tasks.base import Split, Task
from reprogram.tasks.metrics import metrics
from reprogram.tasks.smiles import molecules
from reprogram.texts import decode
from reprogram.types import UserError

STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)  # inverse strengths C of the penalty
LETTERS, WORDS = (1, 4), (1, 2)  # lengths of the n-grams
BITS, RADIUS, TREES = 2048, 2, 200
_START, _END = "\x02", "\x03"  # of a text of letters: an n-gram sees where it begins and ends

Features = Callable[[Sequence[str]], Any]  # texts -> (rows, features), dense or sparse


def ngrams(task: Task, *, seed: int = 0) -> dict[str, float]:
    """Metrics on test of a logistic regression on TF-IDF of n-grams.

    Of one and two words (and marks), in small letters, where most texts hold several; else, as in
    sequences, molecules and names, of one to four letters. N-grams that stand in one training text
    only are left out. The strength of the penalty is the one of the lowest loss on validation, or
    by folds of train where there is none; of several labels each has a regression of its own.

    Arguments:
        task: Of texts, with a test split.
        seed: Of the folds.

    Raises:
        UserError: if the task holds no texts, asks for tokens, or has no test split.

    Example:
        >>> from reprogram.tasks import make_task
        >>> texts = [f"{word} it, {i}" for i in range(50) for word in ("love", "hate")]
        >>> ngrams(make_task("toy", "text", (texts, ["up", "down"] * 50)))["accuracy"]
        1.0
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    train = read(task.train, task)
    if by_letters(task):

        def cut(text: str) -> str:
            return _START + text + _END

        table = TfidfVectorizer(
            analyzer="char", ngram_range=LETTERS, lowercase=False, min_df=2, sublinear_tf=True,
            preprocessor=cut,
        )  # fmt: skip
    else:
        table = TfidfVectorizer(
            ngram_range=WORDS, token_pattern=r"\w+|[^\w\s]", min_df=2, sublinear_tf=True
        )
    try:
        table.fit(train)
    except ValueError as error:
        raise UserError(f"task {task.spec.name!r}: no n-gram stands in two training texts; there "
                        "is nothing to count") from error  # fmt: skip
    return _measured(table.transform, task, seed)


def positional(task: Task, *, seed: int = 0) -> dict[str, float]:
    """Metrics on test of a logistic regression on letters by their places, one-hot.

    For sequences that are aligned: all have one length. The penalty is chosen as in
    :func:`ngrams`; a letter that training does not have counts as none.

    Arguments:
        task: Of texts of one length, with a test split.
        seed: Of the folds.

    Raises:
        UserError: if the lengths differ, the task holds no texts or asks for tokens, or has no test
            split.
    """
    lengths = {len(text) for split in _splits(task) for text in read(split, task)}
    if len(lengths) > 1:
        raise UserError(f"positional takes texts of one length; those of {task.spec.name!r} "
                        f"have {min(lengths)} to {max(lengths)}: use ngrams")  # fmt: skip
    letters = np.unique([list(text) for text in read(task.train, task)])

    def table(texts: Sequence[str]) -> np.ndarray:
        places = np.array([list(text) for text in texts])  # (n, places)
        return (places[..., None] == letters).reshape(len(texts), -1).astype(np.float32)

    return _measured(table, task, seed)


def fingerprints(task: Task, *, forest: bool = False, seed: int = 0) -> dict[str, float]:
    """Metrics on test of a logistic regression on Morgan fingerprints, radius 2, 2,048 bits.

    The penalty is chosen as in :func:`ngrams`.

    Arguments:
        task: Of molecules, with a test split.
        forest: Whether a random forest of 200 trees takes the regression's place.
        seed: Of the folds and the trees.

    References:
        Rogers & Hahn, Extended-Connectivity Fingerprints, 2010.

    Raises:
        UserError: if the task holds no SMILES, asks for tokens, has no test split, or RDKit is
            missing.
    """
    if task.spec.input.notation != "smiles":
        raise UserError(f"fingerprints are of molecules; task {task.spec.name!r} holds no SMILES: "
                        "use ngrams")  # fmt: skip
    return _measured(_morgan, task, seed, forest=forest)


def by_letters(task: Task) -> bool:
    """Whether a task's texts are read letter by letter: sequences, molecules, single words."""
    if task.spec.input.notation:
        return True
    texts = read(task.train, task)
    return sum(len(text.split()) > 1 for text in texts) * 2 < len(texts)


def read(split: Split, task: Task) -> list[str]:
    """The texts of a split.

    Raises:
        UserError: if it holds none, or the task asks for tokens.
    """
    if task.spec.input.kind != "text" or not isinstance(split.inputs, Tensor):
        raise UserError(f"task {task.spec.name!r} holds {task.spec.input.kind} samples; this "
                        "control is for texts")  # fmt: skip
    if task.spec.target == "tokens":
        raise UserError(f"task {task.spec.name!r} asks for tokens place by place; this control is "
                        "for classes and labels")  # fmt: skip
    return decode(split.inputs)


def _morgan(smiles: Sequence[str]) -> np.ndarray:
    """(rows, bits): which circular environments occur."""
    found = molecules(smiles)
    from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator

    table = GetMorganGenerator(radius=RADIUS, fpSize=BITS)
    bits = np.zeros((len(found), BITS), dtype=np.float32)
    for row, molecule in zip(bits, found, strict=True):
        if molecule is not None:
            row[:] = table.GetFingerprintAsNumPy(molecule)
    return bits


def _splits(task: Task) -> list[Split]:
    return [split for split in (task.train, task.validation, task.test) if split is not None]


def _measured(table: Features, task: Task, seed: int, *, forest: bool = False) -> dict[str, float]:
    """Metrics on test of the classifiers of all labels, or of the one of the classes."""
    test = reported_split(task)
    splits = {"train": task.train, "test": test}
    if task.validation is not None:
        splits["validation"] = task.validation
    rows = {name: (_sparse(table(read(split, task))), split) for name, split in splits.items()}
    fit = _forest if forest else _regression
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a weak penalty that does not converge loses the choice
        if task.spec.target == "labels":
            each = [fit(_of_label(rows, k), 2, seed) for k in range(len(task.spec.classes))]
            scores = torch.stack([found[:, 1].log() - found[:, 0].log() for found in each], 1)
        else:
            scores = fit(_of_label(rows, None), len(task.spec.classes), seed)
    return metrics(scores, test.targets, test.weights)


def _sparse(features: Any) -> Any:
    from scipy.sparse import csr_matrix

    return csr_matrix(features)


def _of_label(
    rows: dict[str, tuple[Any, Split]], label: int | None
) -> dict[str, tuple[Any, np.ndarray]]:
    """Features and targets of the rows where the label is known, and of test all rows."""
    found = {}
    for name, (x, split) in rows.items():
        target, weight = split.targets, split.weights
        if label is not None:
            target, weight = target[:, label], weight[:, label]
        kept = (weight > 0).numpy() | (name == "test")
        found[name] = x[kept], target.numpy()[kept]
    return found


def _regression(parts: dict[str, tuple[Any, np.ndarray]], classes: int, seed: int) -> Tensor:
    """Probabilities (rows, classes) on test of the regression with the chosen penalty."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    def make(c: float) -> Any:
        # coordinate descent is many times faster on sparse rows, and knows two classes
        solver = "liblinear" if classes == 2 else "lbfgs"
        return LogisticRegression(C=c, max_iter=300, solver=solver, random_state=seed)

    x, y = parts["train"]
    met, counts = np.unique(y, return_counts=True)
    if len(met) < 2:  # nothing to tell apart
        return torch.nn.functional.one_hot(
            torch.full((parts["test"][0].shape[0],), int(met[0]) if len(met) else 0), classes
        ).double().clamp(1e-12, 1 - 1e-12)  # fmt: skip
    losses = [float(c != 1.0) for c in STRENGTHS]  # with nothing to choose by
    if "validation" in parts and len(parts["validation"][1]):
        held, truth = parts["validation"]
        losses = [_loss(make(c).fit(x, y), held, truth, classes) for c in STRENGTHS]
    elif counts.min() > 1:
        folds = StratifiedKFold(min(5, int(counts.min())), shuffle=True, random_state=seed)
        losses = [
            -cross_val_score(make(c), x, y, cv=folds, scoring="neg_log_loss").mean()
            for c in STRENGTHS
        ]
    best = STRENGTHS[int(np.argmin(losses))]
    return chances(make(best).fit(x, y), parts["test"][0], classes)


def _loss(model: Any, x: Any, y: np.ndarray, classes: int) -> float:
    found = chances(model, x, classes)
    return -float(found[torch.arange(len(y)), torch.from_numpy(y)].log().mean())


def _forest(parts: dict[str, tuple[Any, np.ndarray]], classes: int, seed: int) -> Tensor:
    """Probabilities (rows, classes) on test of a random forest."""
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(TREES, random_state=seed, n_jobs=1)
    return chances(model.fit(*parts["train"]), parts["test"][0], classes)
