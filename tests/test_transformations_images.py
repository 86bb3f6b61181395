"""Images in frames, under patterns, of other sizes and channels."""

import pytest
import torch
from doors import image_door, images
from torch import Tensor

from reprogram.transformations import Frame, Overlay, Resize
from reprogram.transformations.image import as_channels, squash
from reprogram.types import UserError


@pytest.mark.parametrize(("height", "width"), [(4, 4), (5, 4), (9, 2), (3, 10)])
@pytest.mark.parametrize("kind", ["tanh", "sigmoid", "clamp"])
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-2.0, 4.0)])
def test_frame_surrounds_the_image(height: int, width: int, kind, bounds) -> None:
    frame = Frame(squash=kind)
    frame.bind(image_door(10, *bounds), images(height, width))
    x = torch.rand(2, 1, height, width)
    shown = bounds[0] + (bounds[1] - bounds[0]) * x  # in the source's natural units
    assert isinstance(frame.pattern, Tensor)
    rows, columns = (range((10 - n) // 2, (10 - n) // 2 + n) for n in (height, width))
    middle = (bounds[0] + bounds[1]) / 2
    for pattern in (torch.zeros(len(frame.pattern)), torch.linspace(-4, 4, len(frame.pattern))):
        frame.pattern.data = pattern
        values = middle + (bounds[1] - bounds[0]) / 2 * squash(kind, pattern)
        assert pattern.any() or (values == middle).all()
        left = iter(values.tolist())  # in reading order
        slow = [
            [
                [
                    shown[0, 0, i - rows[0], j - columns[0]].item()
                    if i in rows and j in columns
                    else next(left)
                    for j in range(10)
                ]
                for i in range(10)
            ]
            for _ in range(3)
        ]
        assert not list(left)
        y = frame(frame.prepare(x)).detach()
        torch.testing.assert_close(y[0], torch.tensor(slow))
        inside = y[:, :, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        torch.testing.assert_close(inside, shown.expand(-1, 3, -1, -1))


@pytest.mark.parametrize(("height", "width"), [(10, 10), (11, 4), (4, 11)])
def test_frame_refuses_an_image_that_leaves_it_no_room(height: int, width: int) -> None:
    with pytest.raises(UserError, match=rf"{height}x{width} pixels .* 10x10; put Resize"):
        Frame().bind(image_door(10), images(height, width))


@pytest.mark.parametrize("kind", ["tanh", "sigmoid", "clamp"])
@pytest.mark.parametrize("strength", [0.1, 1.0])
def test_overlay_changes_a_pixel_by_its_strength_at_most(kind, strength: float) -> None:
    overlay = Overlay(strength=strength, squash=kind)
    overlay.bind(image_door(6, -1, 3), images(6, 6))
    x = torch.rand(2, 1, 6, 6)
    shown = 4 * x - 1  # in the source's natural units
    torch.testing.assert_close(overlay(overlay.prepare(x)), shown.expand(-1, 3, -1, -1))
    torch.nn.init.normal_(overlay.pattern, std=50.0)
    change = (overlay(overlay.prepare(x)) - shown).abs().max()
    assert 0.9 * strength <= change <= 2 * strength + 1e-6  # half the range is 2
    assert overlay.picture().abs().max() <= 2 * strength + 1e-6


@pytest.mark.parametrize(("kind", "slope"), [("tanh", 1.0), ("sigmoid", 0.5), ("clamp", 1.0)])
def test_squash_is_odd_monotone_and_bounded(kind, slope: float) -> None:
    w = torch.linspace(-60, 60, 1001, dtype=torch.float64)
    y = squash(kind, w)
    assert y.min() == -1
    assert y.max() == 1
    assert (y.diff() >= 0).all()
    torch.testing.assert_close(y, -y.flip(0))
    zero = torch.zeros(1, requires_grad=True)
    squash(kind, zero).sum().backward()
    assert zero.grad is not None
    assert float(zero.grad) == pytest.approx(slope)


def test_resize_keeps_size_range_and_constants() -> None:
    x = torch.rand(2, 3, 9, 9)
    torch.testing.assert_close(Resize(9)(x), x)
    for size in (4, 30):
        y = Resize(size)(x)
        assert y.shape == (2, 3, size, size)
        assert y.min() >= x.min() - 1e-6
        assert y.max() <= x.max() + 1e-6
        torch.testing.assert_close(Resize(size)(torch.full((1, 1, 9, 5), 0.3)).mean().item(), 0.3)


def test_resize_shrinks_without_aliases() -> None:
    stripes = (torch.arange(64) % 2).float().expand(1, 1, 64, 64)
    inside = Resize(16)(stripes)[..., 1:-1, 1:-1]
    assert (inside - 0.5).abs().max() < 0.05


def test_channels() -> None:
    grey, colour = torch.rand(2, 1, 4, 4), torch.rand(2, 3, 4, 4)
    assert torch.equal(as_channels(grey, 3), grey.repeat(1, 3, 1, 1))
    assert torch.equal(as_channels(colour, 1), colour.mean(1, keepdim=True))
    assert torch.equal(as_channels(colour, 3), colour)
    with pytest.raises(UserError, match="images of 2 channels for a source of 3"):
        as_channels(torch.rand(2, 2, 4, 4), 3)


@pytest.mark.parametrize("make", [Frame, Overlay])
def test_images_enter_in_the_natural_units_of_the_source(make) -> None:
    """A task in [0, 1] on a source in [-1, 1]: black is -1, white 1."""
    part, side = make(), 4 if make is Overlay else 2
    part.bind(image_door(4, -1.0, 1.0), images(side, side))
    for value, seen in ((0.0, -1.0), (0.5, 0.0), (1.0, 1.0)):
        image = part(part.prepare(torch.full((1, 1, side, side), value)))
        assert (image[0, :, 1:3, 1:3] == seen).all()
