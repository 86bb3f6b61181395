"""Flips and crops while training."""

import pytest
import torch
from torch.nn import functional as F

from reprogram.draws import forked_rng
from reprogram.transformations import Crop, Flip


def test_a_flip_mirrors_half_of_the_images() -> None:
    x = torch.rand(400, 1, 3, 4)
    with forked_rng(0, 0):
        y = Flip().train()(x)
    same = (y == x).flatten(1).all(1)
    mirrored = (y == x.flip(-1)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 150 < same.sum() < 250


@pytest.mark.parametrize("enlarge", [False, True])
def test_a_crop_is_a_window_at_any_place(enlarge: bool) -> None:
    x = torch.rand(200, 2, 5, 6)
    with forked_rng(0, 0):
        y = Crop(padding=2, enlarge=enlarge).train()(x)
    canvas = F.pad(x, (2, 2, 2, 2))
    if enlarge:
        canvas = F.interpolate(x, (9, 10), mode="bilinear")
    found = set()
    for i in range(len(x)):
        places = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if torch.equal(canvas[i, :, top : top + 5, left : left + 6], y[i])
        ]
        assert places
        found.update(places)
    assert len(found) == 25


@pytest.mark.parametrize("make", [Flip, Crop])
def test_a_step_repeats_and_the_next_differs(make) -> None:
    part, x = make().train(), torch.rand(30, 1, 8, 8)
    drawn = []
    for step in (0, 0, 1):
        with forked_rng(3, step):
            drawn.append(part(x))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(part.eval()(x), x)


def test_gradients_find_their_pixels() -> None:
    x = torch.rand(6, 1, 7, 7, requires_grad=True)
    with forked_rng(0, 0):
        y = Crop(padding=2).train()(Flip().train()(x))
    weight = torch.rand_like(y)
    (y * weight).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close((x.grad * x).sum(), (y * weight).sum())  # linear: Euler's identity
