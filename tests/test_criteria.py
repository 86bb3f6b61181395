"""Losses of classes: against torch, and against their formulas."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from typechecker import unchecked

from reprogram.criteria import CrossEntropy, Focal
from reprogram.sources import CallableSource
from reprogram.types import InputSpec, OutputSpec, TaskSpec, UserError

SOURCE = CallableSource(len, InputSpec("table", (2,)), OutputSpec("classes", (5,)))
COUNTS = (6, 3, 1)


def bound(kind: type = CrossEntropy, *, counts: tuple[int, ...] = COUNTS, **settings) -> Any:
    criterion = kind(**settings)
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


WEIGHTS = {None: (1.0, 1.0, 1.0), "balanced": tuple(10 / (3 * n) for n in COUNTS)}


@pytest.mark.parametrize("class_weights", [None, (0.5, 2.0, 3.0), "balanced"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_formula(class_weights, smoothing: float) -> None:
    scores, target, weight = batch()
    losses = bound(class_weights=class_weights, label_smoothing=smoothing)(scores, target, weight)
    w = WEIGHTS.get(class_weights, class_weights)
    for i in range(10):
        z = [float(v) for v in scores[i]]
        log_p = [v - math.log(sum(math.exp(u) for u in z)) for v in z]
        y = int(target[i])
        wanted = -(1 - smoothing) * w[y] * log_p[y]
        wanted -= smoothing / 3 * sum(w[c] * log_p[c] for c in range(3))
        assert float(losses[i]) == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("class_weights", [None, (0.5, 2.0, 3.0), "balanced"])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_focal_formula(class_weights, gamma: float) -> None:
    scores, target, weight = batch()
    losses = bound(Focal, gamma=gamma, class_weights=class_weights)(scores, target, weight)
    w = WEIGHTS.get(class_weights, class_weights)
    for i in range(10):
        chances = [math.exp(float(v)) for v in scores[i]]
        h, y = chances[int(target[i])] / sum(chances), int(target[i])
        wanted = -w[y] * (1 - h) ** gamma * math.log(h)
        assert float(losses[i]) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("class_weights", [None, "balanced"])
def test_focal_without_gamma_is_cross_entropy(class_weights) -> None:
    focal = bound(Focal, gamma=0.0, class_weights=class_weights)(*batch())
    torch.testing.assert_close(focal, bound(class_weights=class_weights)(*batch()))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("margin", [0.0, 30.0, -30.0, 500.0, -500.0])
def test_focal_has_a_finite_gradient_wherever_it_is(gamma: float, margin: float) -> None:
    """At h = 1 in float32 the powers of 1 - h are 0, and their slopes would be infinite."""
    scores = torch.tensor([[margin, 0.0, -1.0]], requires_grad=True)
    losses = bound(Focal, gamma=gamma)(scores, torch.tensor([0]), torch.ones(1))
    losses.sum().backward()
    assert losses.isfinite().all() and scores.grad is not None and scores.grad.isfinite().all()
    wanted = torch.tensor([[margin, 0.0, -1.0]], dtype=torch.float64, requires_grad=True)
    if abs(margin) <= 30:  # where float64 has no such trouble yet
        h = wanted.softmax(1)[:, 0]
        (-((1 - h) ** gamma) * h.log()).sum().backward()
        torch.testing.assert_close(scores.grad.double(), wanted.grad, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("kind", [CrossEntropy, Focal])
def test_balanced_weights_give_every_class_the_same_say(kind) -> None:
    criterion = bound(kind, class_weights="balanced")
    _, target, weight = batch()
    each = {CrossEntropy: math.log(3), Focal: (2 / 3) ** 2 * math.log(3)}[kind]
    losses = criterion(torch.zeros(10, 3), target, weight) / each
    of_class = [float(losses[target == c].sum()) for c in range(3)]
    assert of_class == pytest.approx([10 / 3] * 3)


@pytest.mark.parametrize(("kind", "more"), [(CrossEntropy, {"label_smoothing": 0.1}), (Focal, {})])
def test_a_class_without_a_sample_is_no_infinity(kind, more) -> None:
    criterion = bound(kind, class_weights="balanced", counts=(6, 4, 0), **more)
    assert criterion(*batch()).isfinite().all()


@pytest.mark.parametrize(("kind", "more"), [(CrossEntropy, {"label_smoothing": 0.1}), (Focal, {})])
def test_weights_scale_and_zero_is_no_label(kind, more) -> None:
    scores, target, weight = batch()
    criterion = bound(kind, class_weights="balanced", **more)
    whole = criterion(scores, target, weight)
    weight = torch.tensor([1.0, 0.0, 2.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5])
    torch.testing.assert_close(criterion(scores, target, weight), whole * weight)
    scores.requires_grad_()
    criterion(scores, target, weight).sum().backward()
    assert scores.grad is not None
    assert torch.equal(scores.grad.any(1), weight > 0)


@pytest.mark.parametrize("kind", [CrossEntropy, Focal])
def test_prediction_is_renormalised(kind) -> None:
    scores, target, weight = batch()
    shifted, plain = bound(kind)(scores - 5, target, weight), bound(kind)(scores, target, weight)
    torch.testing.assert_close(shifted, plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"class_weights": "even"}, "'class_weights' is 'even'"),
        ({"class_weights": (1.0, 2.0)}, "'class_weights' has 2 values for 3 classes"),
        ({"label_smoothing": 1.0}, "'label_smoothing' is 1.0"),
        ({"kind": Focal, "class_weights": "even"}, "'class_weights' is 'even'"),
        ({"kind": Focal, "gamma": -1.0}, "'gamma' is -1"),
        ({"kind": Focal, "gamma": math.nan}, "'gamma' is nan"),
        ({"class_weights": "balanced", "counts": ()}, "toy does not say how many samples"),
    ],
)
def test_a_bad_argument_is_named(settings, said: str) -> None:
    with unchecked(), pytest.raises(UserError, match=said):
        bound(**settings)
