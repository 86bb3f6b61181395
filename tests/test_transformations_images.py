"""Images in frames, under patterns, of other sizes and channels."""

import pytest
import torch
from doors import image_door, images, open_door
from torch import Tensor

from reprogram import parts
from reprogram.transformations import Channels, Frame, Overlay, Resize, ScaledFrame
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


@pytest.mark.parametrize(("side", "width", "count"), [(224, 30, 69_840), (224, 28, 65_856)])
def test_parameters_of_a_border(side: int, width: int, count: int) -> None:
    overlay = Overlay(width=width)
    overlay.bind(image_door(side), images(side, side))
    assert sum(p.numel() for p in overlay.parameters()) == count
    whole = Overlay()
    whole.bind(image_door(side), images(side, side))
    assert sum(p.numel() for p in whole.parameters()) == 3 * side * side


@pytest.mark.parametrize("kind", ["tanh", "none"])
def test_a_border_changes_nothing_inside(kind) -> None:
    overlay = Overlay(width=2, start="normal", squash=kind)
    overlay.bind(image_door(6, width=9), images(6, 9))
    x = torch.rand(3, 1, 6, 9)
    change = overlay(overlay.prepare(x)) - x
    assert not change[:, :, 2:-2, 2:-2].any()
    assert (change.abs().sum((0, 1)) > 0).sum() == 6 * 9 - 2 * 5
    torch.testing.assert_close(overlay.picture()[:, 2:-2, 2:-2], torch.zeros(3, 2, 5))


def test_what_nothing_limits_is_added_as_it_is() -> None:
    overlay = Overlay(squash="none", start="normal", seed=5)
    overlay.bind(image_door(7), images(7, 7))
    drawn = torch.randn(3, 7, 7, generator=torch.Generator().manual_seed(5))
    assert torch.equal(overlay.pattern, drawn)
    x = torch.rand(2, 1, 7, 7)
    y = overlay(overlay.prepare(x))
    assert torch.equal(y, x + drawn)
    assert y.min() < 0
    assert y.max() > 1


def test_behind_a_normalisation_without_bounds_the_image_is_normalised() -> None:
    overlay = Overlay(squash="none")
    overlay.bind(open_door(4, mean=1.0, std=2.0), images(4, 4, mean=0.25, std=0.5))
    x = torch.rand(2, 1, 4, 4)
    torch.testing.assert_close(
        overlay(overlay.prepare(x)), (1 + 2 * (x - 0.25) / 0.5).expand(-1, 3, -1, -1)
    )


def test_what_was_saved_before_borders_is_built_again() -> None:
    old = {"name": "Overlay", "arguments": {"strength": 0.5, "squash": "clamp"}}
    overlay = parts.build("transformations", old)
    overlay.bind(image_door(6), images(6, 6))
    assert {n: t.shape for n, t in overlay.state_dict().items()} == {"pattern": (3, 6, 6)}


def test_a_grey_image_is_kept_grey_until_it_meets_its_pattern() -> None:
    for part in (Frame(), ScaledFrame()):
        part.bind(image_door(9), images(4, 5))
        assert part.prepare(torch.rand(2, 1, 4, 5)).shape == (2, 1, 4, 5)


@pytest.mark.parametrize(("given", "wanted"), [(1, 3), (3, 1), (3, 3), (2, 3), (7, 3), (5, 4)])
def test_channels_start_as_repetition_or_mean(given: int, wanted: int) -> None:
    part = Channels()
    spec = images(4, 6, given)
    part.bind(image_door(4, width=6, channels=wanted), spec)
    assert part.after(spec).input.shape == (wanted, 4, 6)
    x = torch.rand(2, given, 4, 6)
    slow = torch.stack(
        [
            x[:, [i for i in range(given) if i % min(given, wanted) == c % min(given, wanted)]]
            .mean(1)
            for c in range(wanted)
        ],
        dim=1,
    )  # fmt: skip
    torch.testing.assert_close(part(x), slow)
    if 1 in (given, wanted):
        torch.testing.assert_close(part(x), as_channels(x, wanted))
    torch.nn.init.normal_(part.weight, std=9.0)
    torch.nn.init.normal_(part.bias)
    mixed = torch.nn.functional.conv2d(x, part.weight[:, :, None, None], part.bias)
    torch.testing.assert_close(part(x), mixed.clamp(0, 1))
