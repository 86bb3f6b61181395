"""The counting task: what is drawn is what is asked, and no arrangement stands in two splits."""

import math

import numpy as np
import pytest
import torch

from reprogram import tasks
from reprogram.tasks.counting import CELLS, COUNTS, arrangements, draw
from reprogram.types import UserError


@pytest.mark.parametrize("count", [1, 2, 7, 10])
def test_arrangements_differ_while_they_can(count):
    n = 300
    places = arrangements(count, n, np.random.default_rng(0))
    assert places.shape == (n, CELLS) and (places.sum(1) == count).all()
    _, repeats = np.unique(places, axis=0, return_counts=True)
    assert len(repeats) == min(n, math.comb(CELLS, count))
    assert repeats.max() - repeats.min() <= 1


def test_squares_stand_in_their_places_and_apart():
    images = draw(np.eye(CELLS, dtype=bool))
    assert images.shape == (CELLS, 1, 36, 36) and set(np.unique(images)) == {0, 255}
    for place, image in enumerate(images[:, 0]):
        top, left = 9 * (place // 4), 9 * (place % 4)
        assert (image[top + 1 : top + 8, left + 1 : left + 8] == 255).all()
        assert (image == 255).sum() == 49
    whole = draw(np.ones((1, CELLS), bool))
    assert (whole[0, 0, 9::9] == 0).all() and (whole[0, 0, 8::9] == 0).all()


@pytest.mark.parametrize("n", [160, 2000])
def test_splits_share_no_image(n):
    task = tasks.load(f"counting?n={n}")
    splits = [split for split in (task.train, task.validation, task.test) if split is not None]
    assert sum(map(len, splits)) == n and task.spec.classes == tuple(map(str, COUNTS))
    seen = [set(split.contents()) for split in splits]
    assert sum(map(len, seen)) == len(set().union(*seen))
    for split in splits:
        x, y, w = split.batch(torch.arange(len(split)))
        assert torch.equal(x.sum((1, 2, 3)), 49.0 * (y + 1)) and (w == 1).all()
        assert set(y.tolist()) == set(range(10))
    assert any("squares repeat" in note for note in task.notes) == (n > 160)


def test_the_seed_draws_the_images():
    first, again, other = (tasks.load("counting?n=400", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.train.inputs, again.train.inputs)
    assert not torch.equal(first.test.inputs[:50], other.test.inputs[:50])


@pytest.mark.parametrize("n", [0, -5, 100, 159])
def test_too_few(n):
    with pytest.raises(UserError, match=f"'n' is {n}; .*pass 160 or more"):
        tasks.load(f"counting?n={n}")
    with pytest.raises(UserError, match="'n' is 'many'; pass a whole number"):
        tasks.load("counting?n=many")
