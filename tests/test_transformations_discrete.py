"""Patterns of few levels, and the distribution they are drawn from."""

import math
from functools import partial
from itertools import product

import pytest
import torch
from doors import image_door, images
from tiny import SIDE, black_box, image_source, image_task
from typechecker import unchecked

import reprogram
from reprogram.draws import forked_rng
from reprogram.mappings import Linear
from reprogram.optim import Backprop, ScoreFunction
from reprogram.train import Training
from reprogram.transformations import Compose, DiscreteOverlay, Resize
from reprogram.types import UserError


def _bound(side: int = 12, bounds=(0.0, 1.0), channels: int = 3, **numbers) -> DiscreteOverlay:
    part = DiscreteOverlay(**numbers)
    part.bind(image_door(side, *bounds, channels=channels), images(side, side))
    return part


@pytest.mark.parametrize("levels", [2, 3, 5])
def test_the_likeliest_levels_fill_the_cells(levels: int) -> None:
    part = _bound(size=4, levels=levels, strength=0.5, bounds=(-1.0, 3.0))
    generator = torch.Generator().manual_seed(0)
    part.logits.data = torch.randn(part.logits.shape, generator=generator)
    picture = part.picture()
    values = torch.linspace(-0.5, 0.5, levels) * 2
    for c, i, j in product(range(3), range(12), range(12)):
        best = part.logits[c, i // 3, j // 3].argmax()
        torch.testing.assert_close(picture[c, i, j], values[best])
    x = torch.rand(2, 1, 12, 12)
    expected = (4 * x - 1 + picture).clamp(-1, 3)
    torch.testing.assert_close(part(part.prepare(x)).detach(), expected)


@pytest.mark.parametrize("levels", [3, 7])
def test_it_starts_near_uniform_with_the_middle_the_likeliest(levels: int) -> None:
    part = _bound(size=12, levels=levels)
    p = part.logits.detach().softmax(-1)
    assert (p.argmax(-1) == levels // 2).all()
    assert p.max() < 2 / levels
    assert p.min() > 0.5 / levels
    x = torch.rand(2, 3, 12, 12)
    assert torch.equal(part(part.prepare(x)), x)


def test_samples_follow_the_distribution() -> None:
    part = _bound(4, size=1, levels=3, channels=1)
    part.logits.data = torch.tensor([0.2, 0.5, 0.3]).log().reshape(1, 1, 1, 3)
    x = torch.full((2, 1, 4, 4), 0.5)
    with forked_rng(0, 0):
        inputs, log_p = part.sample(part.prepare(x), 4000)
    assert inputs.shape == (4000, 2, 1, 4, 4)
    flat = inputs.flatten(2)
    assert torch.equal(flat[:, :, :1].expand_as(flat), flat)
    for value, p in ((0.0, 0.2), (0.5, 0.5), (1.0, 0.3)):
        at = flat[:, :, 0] == value
        assert abs(float(at.float().mean()) - p) < 5 * math.sqrt(p * (1 - p) / 8000)
        torch.testing.assert_close(log_p[at], torch.full_like(log_p[at], math.log(p)))
    assert (flat[:, 0] != flat[:, 1]).any()  # each image has patterns of its own


def test_log_probabilities_are_those_of_the_patterns_seen() -> None:
    part = _bound(size=3, levels=4)
    part.logits.data = torch.randn(part.logits.shape, generator=torch.Generator().manual_seed(1))
    x = torch.full((2, 3, 12, 12), 0.5)
    with forked_rng(3, 0):
        inputs, log_p = part.sample(part.prepare(x), 6)
    level = (inputs[..., ::4, ::4] * 3).round().long()  # (6, 2, 3, 3, 3)
    table = part.logits.log_softmax(-1)
    for i, b in product(range(6), range(2)):
        by_hand = table.gather(-1, level[i, b][..., None]).sum()
        torch.testing.assert_close(log_p[i, b], by_hand)


def test_the_score_function_is_unbiased() -> None:
    part = _bound(4, size=2, levels=2, channels=1)
    part.logits.data = torch.randn(part.logits.shape, generator=torch.Generator().manual_seed(1))

    def reward(inputs: torch.Tensor) -> torch.Tensor:
        return (inputs[..., 0, ::2, ::2] * torch.tensor([[1.0, -2.0], [0.5, 3.0]])).sum((-1, -2))

    x = torch.full((4, 1, 4, 4), 0.5)
    with forked_rng(0, 0):
        inputs, log_p = part.sample(part.prepare(x), 5000)
    f = reward(inputs)
    (estimate,) = torch.autograd.grad(((f - f.mean()) * log_p).mean(), part.logits)
    weights = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    exact = (part.logits[0].softmax(-1)[..., 1] * weights).sum()
    (g,) = torch.autograd.grad(exact, part.logits)
    torch.testing.assert_close(estimate, g, atol=0.05, rtol=0)


def test_draws_come_from_the_generator_that_was_seeded() -> None:
    part = _bound()
    x = part.prepare(torch.rand(2, 3, 12, 12))

    def drawn(step: int) -> torch.Tensor:
        with forked_rng(0, step):
            return part.sample(x, 3)[0]

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_backprop_is_refused_and_the_score_function_trains() -> None:
    task = image_task(train=60)
    source = image_source()

    def training(optimizer, of) -> Training:
        part = Compose([Resize(SIDE), DiscreteOverlay(size=2, strength=0.5)])
        return Training(
            source=of, transformation=part, mapping=Linear(), epochs=4, batch_size=20,
            optimizer=optimizer(partial(torch.optim.Adam, lr=0.1)), keep_best=False,
        )  # fmt: skip

    with pytest.raises(UserError, match=r"no gradient passes through .* ScoreFunction"):
        reprogram.fit(training(Backprop, source), task)
    run = training(ScoreFunction, black_box(source))
    program = reprogram.fit(run, task)
    logits = program.transformation.get_parameter("parts.1.logits")
    start = DiscreteOverlay(size=2)
    start.bind(image_door(SIDE), images(SIDE, SIDE))
    assert (logits - start.logits).abs().max() > 0.1
    assert program.metrics["queries"] == 4 * 60 * 4 + 4 * 30 + 12


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"size": 0}, "'size' is 0"),
        ({"levels": 1}, "'levels' is 1; give 2 or more"),
        ({"strength": 0.0}, "'strength' is 0.0"),
    ],
)
def test_a_bad_argument_is_named(numbers, said) -> None:
    with unchecked(), pytest.raises(UserError, match=said):
        DiscreteOverlay(**numbers)


@pytest.mark.parametrize(
    ("door", "task", "said"),
    [
        (image_door(7), images(7, 7), "'size' is 8, more cells than the image of 7x7"),
        (image_door(9), images(8, 8), "put Resize before DiscreteOverlay"),
        (image_door(8, lower=-math.inf), images(8, 8), "needs finite bounds"),
    ],
)
def test_what_does_not_fit_is_named(door, task, said) -> None:
    with pytest.raises(UserError, match=said) as caught:
        DiscreteOverlay().bind(door, task)
    assert "\n" not in str(caught.value)
