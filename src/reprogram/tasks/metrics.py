"""How well predictions fit their targets: fractions, on the labelled rows only."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def accuracy(scores: Tensor, targets: Tensor) -> float | None:
    """Share of rows whose best score is the target's."""
    return float((scores.argmax(1) == targets).double().mean())


def balanced_accuracy(scores: Tensor, targets: Tensor) -> float | None:
    """Recall averaged over the classes that occur in the targets."""
    hits, actual, _ = _counts(scores, targets)
    return float((hits / actual)[actual > 0].mean())


def macro_f1(scores: Tensor, targets: Tensor) -> float | None:
    """F1 averaged over the classes that occur in targets or predictions."""
    hits, actual, predicted = _counts(scores, targets)
    either = actual + predicted
    return float((2 * hits / either)[either > 0].mean())


def roc_auc(scores: Tensor, targets: Tensor) -> float | None:
    """Area under the ROC curve: of class 1 against class 0, or one-vs-rest averaged over the
    classes that occur. ``None`` where fewer than two classes occur."""
    if scores.shape[1] == 2:
        return _area(scores[:, 1] - scores[:, 0], targets == 1)
    if (scores < 0).any() or ((scores.sum(1) - 1).abs() > 1e-3).any():
        scores = scores.log_softmax(1)  # log-scores; probabilities stay
    areas = [_area(scores[:, c], targets == c) for c in range(scores.shape[1])]
    areas = [area for area in areas if area is not None]
    return sum(areas) / len(areas) if areas else None


def pr_auc(scores: Tensor, targets: Tensor) -> float | None:
    """Average precision of class 1, of two classes: precision weighted by the recall it adds, equal
    scores counting as one threshold. ``None`` where class 1 does not occur."""
    if scores.shape[1] != 2 or not (targets == 1).any():
        return None
    score, order = (scores[:, 1] - scores[:, 0]).sort(descending=True)
    hits = (targets[order] == 1).double().cumsum(0)  # (n,), true positives down to here
    last = torch.ones_like(score, dtype=torch.bool)
    last[:-1] = score[:-1] != score[1:]  # of each threshold
    found = hits[last]
    precision = found / (last.nonzero()[:, 0] + 1)
    gained = found.diff(prepend=found.new_zeros(1)) / found[-1]
    return float((gained * precision).sum())


def f1(scores: Tensor, targets: Tensor) -> float | None:
    """F1 of class 1, of two classes. ``None`` where it neither occurs nor is predicted."""
    if scores.shape[1] != 2:
        return None
    hits, actual, predicted = _counts(scores, targets)
    either = float(actual[1] + predicted[1])
    return float(2 * hits[1]) / either if either else None


METRICS: dict[str, Callable[[Tensor, Tensor], float | None]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
    "roc_auc": roc_auc,
    "pr_auc": pr_auc,
    "f1": f1,
}


LABEL_METRICS = ("accuracy", "roc_auc", "pr_auc")


HEADLINES = ("accuracy", "wanted", "mse")


def headline(measured: Mapping[str, float]) -> str:
    """The metric that a task is told by: accuracy; of images the share that is read as wanted, or
    their error.

    Example:
        >>> headline({"loss": 0.3, "mse": 0.3})
        'mse'
    """
    return next((name for name in HEADLINES if name in measured), "loss")


def metrics(
    scores: Float[Tensor, "n ..."],
    targets: Int[Tensor, "n ..."],
    weights: Float[Tensor, "n ..."],
) -> dict[str, float]:
    """Every metric that applies, as a fraction; PR-AUC and F1 of the second class of two.

    What the task asks for shows in the shapes. Tokens (n, places) with scores (n, places, tokens)
    are told by their accuracy, which is the recovery. Of labels (n, labels) with logits of yes of
    the same shape each metric is the mean over the labels that have one: ROC-AUC where yes and no
    occur. Cells (n, height, width) with scores (n, height, width, classes) are told by their
    accuracy, by the samples whose living cells say the target by majority (``sample_accuracy``),
    and by those whose living cells all do (``agreement``).

    Arguments:
        scores: Log-scores or probabilities of the target classes.
        targets: Class of each row.
        weights: Rows (places, labels) of weight 0 have no label and are left out.

    Example:
        >>> scores = torch.tensor([[2.0, 1.0], [0.0, 1.0], [0.5, 0.0], [9.0, 9.0]])
        >>> found = metrics(scores, torch.tensor([0, 1, 1, 0]), torch.tensor([1.0, 1.0, 1.0, 0.0]))
        >>> print(", ".join(f"{name} {value:.2f}" for name, value in found.items()))
        accuracy 0.67, balanced_accuracy 0.75, macro_f1 0.67, roc_auc 1.00, pr_auc 1.00, f1 0.67
        >>> logits = torch.tensor([[2.0, 1.0], [-1.0, 3.0], [1.0, -2.0]])
        >>> yes = torch.tensor([[1, 1], [0, 0], [0, 1]])
        >>> found = metrics(logits, yes, torch.ones(3, 2))
        >>> print(", ".join(f"{name} {value:.2f}" for name, value in found.items()))
        accuracy 0.50, roc_auc 0.50, pr_auc 0.79
        >>> said = torch.nn.functional.one_hot(torch.tensor([[[8, 8, 1]]]), 10).float()
        >>> metrics(said, torch.full((1, 1, 3), 8), torch.tensor([[[1.0, 1.0, 0.0]]]))
        {'accuracy': 1.0, 'sample_accuracy': 1.0, 'agreement': 1.0}
    """
    if scores.ndim == targets.ndim:
        columns = torch.arange(targets.shape[1])
        each = [_of_label(scores[:, k], targets[:, k], weights[:, k]) for k in columns]
        told = {n: [v[n] for v in each if n in v] for n in LABEL_METRICS}
        return {name: sum(values) / len(values) for name, values in told.items() if values}
    kept = weights > 0
    if not kept.any():
        return {}
    scores, targets = scores[kept].double(), targets[kept]
    if weights.ndim > 1:
        found = {"accuracy": float((scores.argmax(1) == targets).double().mean())}
        return found | (_of_cells(kept, scores, targets) if weights.ndim > 2 else {})
    found = {name: metric(scores, targets) for name, metric in METRICS.items()}
    return {name: value for name, value in found.items() if value is not None}


def _of_cells(
    living: Bool[Tensor, "n height width"],
    scores: Float[Tensor, "cells classes"],
    targets: Int[Tensor, " cells"],
) -> dict[str, float]:
    """What the living cells of a sample say together; a sample's living cells share a target."""
    sample = living.nonzero()[:, 0]  # (cells,)
    votes = torch.zeros(len(living), scores.shape[1], dtype=torch.long)
    votes.index_put_((sample, scores.argmax(1)), torch.ones_like(sample), accumulate=True)
    wanted = torch.full((len(living),), -1).scatter(0, sample, targets)
    votes, wanted = votes[wanted >= 0], wanted[wanted >= 0]
    own = votes.gather(1, wanted[:, None])[:, 0]
    return {
        "sample_accuracy": float((votes.argmax(1) == wanted).double().mean()),
        "agreement": float((own == votes.sum(1)).double().mean()),
    }


def _of_label(logit: Tensor, target: Tensor, weight: Tensor) -> dict[str, float]:
    """The metrics of one label, yes against no."""
    found = metrics(torch.stack([torch.zeros_like(logit), logit], 1), target, weight)
    return {name: found[name] for name in LABEL_METRICS if name in found}


def _counts(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each class (classes,): rows predicted rightly, rows there are, rows predicted."""
    classes, best = scores.shape[1], scores.argmax(1)
    hits = torch.bincount(targets[best == targets], minlength=classes).double()
    actual = torch.bincount(targets, minlength=classes).double()
    return hits, actual, torch.bincount(best, minlength=classes).double()


def _area(score: Tensor, positive: Tensor) -> float | None:
    """The share of (positive, negative) pairs in the right order, ties counting half."""
    high, low = score[positive], score[~positive].sort().values
    if len(high) == 0 or len(low) == 0:
        return None
    below = torch.searchsorted(low, high).double()
    upto = torch.searchsorted(low, high, right=True).double()
    return float((below + upto).mean() / (2 * len(low)))
