"""A frame around an image at a trainable scale."""

import pytest
import torch
from doors import image_door, images
from torch import Tensor
from torch.nn import functional as F

from reprogram.transformations import Compose, Frame, Resize, ScaledFrame

SIDES = 24, 20  # of the source's input


def _framed(height: int, width: int, pattern: float | None = None, **numbers) -> ScaledFrame:
    frame = ScaledFrame(**numbers)
    frame.bind(image_door(SIDES[0], -1.0, 3.0, width=SIDES[1]), images(height, width))
    if pattern is None:
        torch.nn.init.normal_(frame.pattern, generator=torch.Generator().manual_seed(0))
    else:
        torch.nn.init.constant_(frame.pattern, pattern)
    return frame


def _zoomed(frame: ScaledFrame, scale: float) -> ScaledFrame:
    with torch.no_grad():
        frame.zoom.fill_(scale)
    return frame


@pytest.mark.parametrize(("height", "width"), [(8, 6), (24, 2), (10, 20)])
def test_at_scale_one_and_an_even_margin_it_is_a_frame(height: int, width: int) -> None:
    scaled, frame = _framed(height, width, squash="tanh"), Frame()
    frame.bind(image_door(SIDES[0], -1.0, 3.0, width=SIDES[1]), images(height, width))
    frame.pattern.data = scaled.pattern.detach().reshape(-1)[frame.at]
    x = torch.rand(3, 1, height, width)
    torch.testing.assert_close(scaled(scaled.prepare(x)), frame(frame.prepare(x)))
    torch.testing.assert_close(scaled.picture(), frame.picture())


@pytest.mark.parametrize(("side", "scale"), [(6, 2.0), (4, 3.0), (16, 0.5), (24, 0.25)])
def test_at_other_scales_it_is_resize_and_frame_but_for_the_edge(side: int, scale: float) -> None:
    drawn = int(side * scale)
    scaled, resized = ScaledFrame(scale=scale), Compose([Resize(drawn), Frame()])
    for part in (scaled, resized):
        part.bind(image_door(20, upper=3.0), images(side, side))
    x = torch.rand(2, 1, side, side)
    a, b = (part(part.prepare(x)) for part in (scaled, resized))
    far, near = (
        F.pad(torch.zeros(n, n), ((20 - n) // 2,) * 4, value=1.0) for n in (drawn - 4, drawn + 4)
    )
    flat = 1 - far + near  # without the two pixels on each side of the edge
    torch.testing.assert_close(a * flat, b * flat)
    assert not torch.equal(a, b)


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("scale", [1.0, 1.37, 2.0, 2.9])
@pytest.mark.parametrize(("height", "width"), [(8, 6), (7, 3)])
def test_it_is_torchs_own_grid_sample(
    height: int, width: int, scale: float, trainable: bool
) -> None:
    frame = _framed(height, width, scale=scale, trainable=trainable)
    x = torch.rand(2, 1, height, width)
    shown = 4 * x - 1
    theta = torch.tensor(
        [[[SIDES[1] / (scale * width), 0, 0], [0, SIDES[0] / (scale * height), 0]]]
    )

    def draw(image: Tensor) -> Tensor:
        grid = F.affine_grid(
            theta.expand(len(image), -1, -1), [len(image), 1, *SIDES], align_corners=False
        )
        return F.grid_sample(image, grid, align_corners=False)

    border = (1 - draw(torch.ones(1, 1, height, width))) * (4 * frame.pattern.sigmoid() - 1)
    torch.testing.assert_close(frame.picture(), border[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(frame(frame.prepare(x)), draw(shown) + border, atol=1e-4, rtol=1e-4)


def test_beyond_the_input_the_image_is_cropped() -> None:
    frame = _zoomed(_framed(8, 8, pattern=9.0), 4.5)
    x = torch.rand(1, 1, 8, 8)
    assert not frame.picture().any()
    y = frame(frame.prepare(x))
    assert y.min() >= (4 * x - 1).min() - 1e-5
    assert y.max() <= (4 * x - 1).max() + 1e-5


@pytest.mark.parametrize("scale", [0.13, 0.3, 0.77, 1.61, 2.0, 2.9])
def test_the_gradient_of_the_scale_is_its_slope(scale: float) -> None:
    """Through the image and through the mask; at whole pixels, the mean of both sides."""
    frame = _framed(8, 6).double()
    x = torch.rand(2, 1, 8, 6, dtype=torch.float64)
    weight = torch.randn(2, 3, *SIDES, dtype=torch.float64)
    for wanted in ("image", "mask"):
        torch.nn.init.constant_(frame.pattern, 0.0 if wanted == "image" else 3.0)
        seen = x if wanted == "image" else torch.zeros_like(x)

        def loss(scale: float, seen: Tensor = seen) -> Tensor:
            _zoomed(frame, scale)
            return (frame(frame.prepare(seen)) * weight).sum()

        frame.zero_grad()
        loss(scale).backward()
        slope = (loss(scale + 1e-5) - loss(scale - 1e-5)) / 2e-5
        assert frame.zoom.grad is not None
        torch.testing.assert_close(frame.zoom.grad, slope.detach(), rtol=1e-4, atol=1e-6)
        assert slope.abs() > 1e-3


def test_the_scale_learns_where_it_starts() -> None:
    """At 1 every pixel stands on a whole one."""
    frame = _framed(8, 6, pattern=3.0)
    (frame(frame.prepare(torch.zeros(1, 1, 8, 6)))).sum().backward()
    assert frame.zoom.grad is not None
    assert frame.zoom.grad < 0  # a larger black image leaves less of a bright frame


@pytest.mark.parametrize("scale", [0.1, 0.13, 0.4, 0.9, 1.3])
def test_what_is_drawn_lies_between_image_and_frame(scale: float) -> None:
    frame = _zoomed(_framed(8, 6, pattern=0.0), scale)
    y = frame(frame.prepare(torch.full((1, 1, 8, 6), 0.5)))  # as grey as the frame
    torch.testing.assert_close(y, torch.ones_like(y))


def test_the_scale_is_projected_into_its_range() -> None:
    frame = _framed(8, 6)
    for beyond, kept in ((7.0, 5.0), (-1.0, 0.1), (0.7, 0.7)):
        _zoomed(frame, beyond).advance(0, 10)
        assert frame.zoom.item() == pytest.approx(kept)
    frame = _zoomed(frame, 5.0)
    frame(frame.prepare(torch.rand(1, 1, 8, 6))).square().sum().backward()
    assert frame.zoom.grad is not None
    assert frame.zoom.grad != 0


def test_a_fixed_scale_is_no_parameter() -> None:
    frame = _framed(8, 6, scale=0.5, trainable=False)
    assert [name for name, _ in frame.named_parameters()] == ["pattern"]
    assert frame.prepare(torch.rand(2, 1, 8, 6)).shape == (2, 1, *SIDES)
