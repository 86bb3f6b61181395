"""Patterns spanned by few numbers: each is the synthesis it says it is."""

import math

import pytest
import torch
from doors import image_door, images
from scipy.fft import idctn
from torch import Tensor
from torch.nn import functional as F
from typechecker import unchecked

from reprogram.transformations import BasisOverlay
from reprogram.transformations.basis import cosines
from reprogram.types import UserError


def _bound(height: int = 20, wide: int = 26, bounds=(0.0, 1.0), **numbers) -> BasisOverlay:
    part = BasisOverlay(**numbers)
    part.bind(image_door(height, *bounds, width=wide), images(height, wide))
    return part


def _filled(part: BasisOverlay) -> BasisOverlay:
    generator = torch.Generator().manual_seed(5)
    part.pattern.data = torch.randn(part.pattern.shape, generator=generator)
    return part


def _slow(part: BasisOverlay, height: int, wide: int) -> Tensor:
    """The synthesis by other means, of the whole image."""
    channels, size = part.pattern.shape[0], part.size
    z = part.pattern.detach().reshape(channels, size, size)
    if part.basis == "grid":
        return F.interpolate(z[None], (height, wide), mode="bilinear", align_corners=False)[0]
    padded = torch.zeros(channels, height, wide)
    padded[:, :size, :size] = z
    waves = torch.from_numpy(idctn(padded.numpy(), axes=(1, 2), norm="ortho"))
    return waves * math.sqrt(height * wide) / size


@pytest.mark.parametrize("colour", [True, False])
@pytest.mark.parametrize("size", [1, 3, 8, 20])
@pytest.mark.parametrize("basis", ["grid", "dct"])
def test_it_is_the_synthesis(basis, size, colour) -> None:
    part = _filled(_bound(basis=basis, size=size, colour=colour))
    assert part.pattern.numel() == (3 if colour else 1) * size**2
    expected = _slow(part, 20, 26).expand(3, -1, -1)
    torch.testing.assert_close(part.synthesis().detach(), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("height", "wide", "width"), [(20, 26, 4), (15, 15, 1), (20, 20, 9)])
@pytest.mark.parametrize("size", [2, 5, 10])
def test_a_border_shows_the_grid_and_trains_what_reaches_it(height, wide, width, size) -> None:
    whole = _bound(height, wide, size=size)
    part = _filled(_bound(height, wide, size=size, width=width))
    assert part.pattern.shape[1] <= size**2
    with torch.no_grad():
        whole.pattern[:, part.cells] = part.pattern
    x, shown = torch.full((1, 3, height, wide), 0.5), torch.ones(height, wide)
    shown[width:-width, width:-width] = 0
    torch.testing.assert_close(part.synthesis(), whole.synthesis() * shown)
    (steps,) = torch.autograd.functional.jacobian(
        lambda z: (torch.func.functional_call(part, {"pattern": z}, (x,))[0].sum(0),), part.pattern
    )
    assert (steps.abs().amax((0, 1)) > 0).all()  # no coefficient is idle
    hidden = set(range(size**2)) - set(part.cells.tolist())
    with torch.no_grad():
        whole.pattern.zero_()
        whole.pattern[:, sorted(hidden)] = 1
    assert not (whole.synthesis() * shown).any()  # and none is missing


@pytest.mark.parametrize("width", [None, 4])
@pytest.mark.parametrize("colour", [True, False])
def test_random_directions_are_orthogonal_and_cover_every_pixel(width, colour) -> None:
    part = _bound(basis="random", size=17, width=width, colour=colour, squash="none")
    x = torch.zeros(1, 3, 20, 26)
    directions = torch.autograd.functional.jacobian(
        lambda z: torch.func.functional_call(part, {"pattern": z}, (x,))[0], part.pattern
    )
    if width is not None:
        inside = directions[:, width:-width, width:-width]
        assert not inside.any()
        assert directions.abs().sum(-1).sum() == 3 * (20 * 26 - 12 * 18)
    else:
        assert (directions.abs().sum(-1) == 1).all()
    if not colour:
        assert torch.equal(directions[0], directions[2])
        directions = directions[:1]
    gram = directions.flatten(0, 2).T @ directions.flatten(0, 2)
    assert torch.equal(gram, gram.diag().diag())
    assert gram.diag().max() - gram.diag().min() <= 1
    assert directions.min() == -1
    assert directions.max() == 1


def test_the_seed_draws_the_directions() -> None:
    one, same, other = (_filled(_bound(basis="random", seed=s)).synthesis() for s in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("side", [1, 2, 7, 32])
def test_cosines_are_orthonormal(side: int) -> None:
    wave = cosines(side, side)
    torch.testing.assert_close(wave.T @ wave, torch.eye(side), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("basis", "size", "per_channel"),
                         [("grid", 8, 64), ("dct", 8, 64), ("random", 192, 192)])  # fmt: skip
def test_a_unit_step_changes_pixels_alike(basis, size, per_channel) -> None:
    part = _bound(32, 32, basis=basis, size=size)
    scales = []
    for i in range(0, part.pattern.numel(), 7):
        part.pattern.data.zero_().view(-1)[i] = 1
        of = part.synthesis() if basis == "random" else part.synthesis()[i // per_channel]
        scales.append(float(of.detach().square().mean().sqrt()) * math.sqrt(per_channel))
    expected = 2 / 3 if basis == "grid" else 1.0
    assert 0.9 * expected <= min(scales) <= max(scales) <= 1.3 * expected
    part.pattern.data = torch.randn(part.pattern.shape, generator=torch.Generator().manual_seed(0))
    assert 0.55 <= float(part.synthesis().detach().std()) <= 1.1  # all together: about 1


@pytest.mark.parametrize("basis", ["grid", "dct", "random"])
@pytest.mark.parametrize("squash", ["tanh", "sigmoid", "clamp"])
def test_the_limit_stands_behind_the_synthesis(basis, squash) -> None:
    part = _filled(_bound(basis=basis, size=4, squash=squash, strength=0.25, bounds=(-1.0, 3.0)))
    w = part.synthesis().detach()
    limited = {"tanh": w.tanh(), "sigmoid": 2 * w.sigmoid() - 1, "clamp": w.clamp(-1, 1)}[squash]
    torch.testing.assert_close(part.picture().detach(), 0.25 * 2 * limited)
    part.pattern.data *= 1e4
    x = torch.rand(2, 1, 20, 26)
    changed = (part(part.prepare(x)) - (4 * x - 1)).abs()
    assert changed.max() <= 0.5 + 1e-5


@pytest.mark.parametrize("basis", ["grid", "dct", "random"])
def test_images_start_untouched(basis) -> None:
    x = torch.rand(2, 3, 20, 26)
    part = _bound(basis=basis)
    assert torch.equal(part(part.prepare(x)), x)


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"basis": "wavelet"}, "'basis' is 'wavelet'; give 'grid', 'dct' or 'random'"),
        ({"size": 0}, "'size' is 0"),
        ({"width": 0}, "'width' is 0"),
        ({"strength": 1.5}, "'strength' is 1.5"),
        ({"squash": "relu"}, "'squash' is 'relu'"),
        ({"squash": "none", "strength": 0.5}, "limits nothing"),
    ],
)
def test_a_bad_argument_is_named(numbers, said) -> None:
    with unchecked(), pytest.raises(UserError, match=said):
        BasisOverlay(**numbers)


@pytest.mark.parametrize(
    ("numbers", "door", "task", "said"),
    [
        ({"size": 9}, image_door(8), images(8, 8), "'size' is 9; basis 'grid' .* takes 8 or less"),
        ({"basis": "random", "size": 193}, image_door(8), images(8, 8), "takes 192 or less"),
        ({"basis": "random", "size": 85, "width": 1}, image_door(8), images(8, 8), "takes 84 or"),
        ({"width": 4}, image_door(8), images(8, 8), "'width' is 4: a border"),
        ({}, image_door(9), images(8, 8), "put Resize before BasisOverlay"),
        ({}, image_door(8, upper=math.inf), images(8, 8), "needs finite bounds"),
    ],
)
def test_what_does_not_fit_is_named(numbers, door, task, said) -> None:
    with pytest.raises(UserError, match=said) as caught:
        BasisOverlay(**numbers).bind(door, task)
    assert "\n" not in str(caught.value)
