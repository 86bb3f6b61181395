"""Cross-entropy: against torch, and against the formula."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from typechecker import unchecked

from reprogram.criteria import CrossEntropy
from reprogram.sources import CallableSource
from reprogram.types import InputSpec, OutputSpec, TaskSpec, UserError

SOURCE = CallableSource(len, InputSpec("table", (2,)), OutputSpec("classes", (5,)))
COUNTS = (6, 3, 1)


def bound(*, counts: tuple[int, ...] = COUNTS, **settings) -> CrossEntropy:
    criterion = CrossEntropy(**settings)
    criterion.bind(SOURCE, TaskSpec("toy", InputSpec("table", (2,)), ("a", "b", "c"), counts))
    return criterion


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Ten predictions, of classes as often as ``COUNTS`` says."""
    scores = 2 * torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    return scores, torch.tensor([0, 1, 0, 2, 0, 1, 0, 1, 0, 0]), torch.ones(10)


def test_is_torchs() -> None:
    scores, target, weight = batch()
    losses = bound()(scores, target, weight)
    assert losses.shape == (10,)
    torch.testing.assert_close(losses, F.cross_entropy(scores, target, reduction="none"))


@pytest.mark.parametrize("class_weights", [None, (0.5, 2.0, 3.0), "balanced"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_formula(class_weights, smoothing: float) -> None:
    scores, target, weight = batch()
    losses = bound(class_weights=class_weights, label_smoothing=smoothing)(scores, target, weight)
    of_class = {None: (1.0, 1.0, 1.0), "balanced": tuple(10 / (3 * n) for n in COUNTS)}
    w = of_class.get(class_weights, class_weights)
    for i in range(10):
        z = [float(v) for v in scores[i]]
        log_p = [v - math.log(sum(math.exp(u) for u in z)) for v in z]
        y = int(target[i])
        wanted = -(1 - smoothing) * w[y] * log_p[y]
        wanted -= smoothing / 3 * sum(w[c] * log_p[c] for c in range(3))
        assert float(losses[i]) == pytest.approx(wanted, abs=1e-5)


def test_balanced_weights_give_every_class_the_same_say() -> None:
    criterion = bound(class_weights="balanced")
    _, target, weight = batch()
    losses = criterion(torch.zeros(10, 3), target, weight) / math.log(3)
    of_class = [float(losses[target == c].sum()) for c in range(3)]
    assert of_class == pytest.approx([10 / 3] * 3)


def test_a_class_without_a_sample_is_no_infinity() -> None:
    criterion = bound(class_weights="balanced", label_smoothing=0.1, counts=(6, 4, 0))
    assert criterion(*batch()).isfinite().all()


def test_weights_scale_and_zero_is_no_label() -> None:
    scores, target, weight = batch()
    criterion = bound(label_smoothing=0.1, class_weights="balanced")
    whole = criterion(scores, target, weight)
    weight = torch.tensor([1.0, 0.0, 2.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5])
    torch.testing.assert_close(criterion(scores, target, weight), whole * weight)
    scores.requires_grad_()
    criterion(scores, target, weight).sum().backward()
    assert scores.grad is not None
    assert torch.equal(scores.grad.any(1), weight > 0)


def test_prediction_is_renormalised() -> None:
    scores, target, weight = batch()
    torch.testing.assert_close(
        bound()(scores - 5, target, weight), bound()(scores, target, weight), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"class_weights": "even"}, "'class_weights' is 'even'"),
        ({"class_weights": (1.0, 2.0)}, "'class_weights' has 2 values for 3 classes"),
        ({"label_smoothing": 1.0}, "'label_smoothing' is 1.0"),
        ({"class_weights": "balanced", "counts": ()}, "toy does not say how many samples"),
    ],
)
def test_a_bad_argument_is_named(settings, said: str) -> None:
    with unchecked(), pytest.raises(UserError, match=said):
        bound(**settings)
