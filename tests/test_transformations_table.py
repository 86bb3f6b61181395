"""The columns of a table written over an image."""

import math

import pytest
import torch
from doors import image_door, table
from torch import Tensor

from reprogram.transformations import TableOverlay


def _bound(part: TableOverlay, columns: int, height: int, width: int, **known) -> TableOverlay:
    part.bind(image_door(height, -1.0, 3.0, width=width), table(columns, **known))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in part.parameters():
            parameter += torch.randn(parameter.shape, generator=generator)
    return part


@pytest.mark.parametrize(
    ("columns", "height", "width", "size"),
    [(7, 12, 10, None), (9, 9, 9, 9), (1, 4, 4, 1), (29, 32, 32, 13), (5, 8, 11, 6)],
)
@pytest.mark.parametrize("colour", ["trained", "grey"])
def test_features_stand_in_their_blocks(columns, height, width, size, colour) -> None:
    means, stds = tuple(range(columns)), tuple(1.0 + i for i in range(columns))
    means = tuple(map(float, means))
    part = _bound(
        TableOverlay(size=size, colour=colour), columns, height, width, means=means, stds=stds
    )
    x = 3 * torch.randn(2, columns)
    y = part(part.prepare(x)).detach()
    grid = math.ceil(math.sqrt(columns))
    block = (size or min(height, width) // 2) // grid
    top, left = (height - grid * block) // 2, (width - grid * block) // 2
    host = 1 + 2 * part.pattern.detach().tanh()
    rest = iter(host.tolist())
    for c in range(3):
        for i in range(height):
            for j in range(width):
                row, column = (i - top) // block, (j - left) // block
                feature = grid * row + column
                inside = 0 <= row < grid and 0 <= column < grid and feature < columns
                if not inside:
                    wanted = torch.full((2,), next(rest))
                else:
                    z = (x[:, feature] - means[feature]) / stds[feature]
                    if colour == "trained":
                        z = part.gain[c, feature] * z + part.offset[c, feature]
                    wanted = 4 * z.detach().sigmoid() - 1
                torch.testing.assert_close(y[:, c, i, j], wanted, atol=1e-5, rtol=1e-5)
    assert not list(rest)


def test_it_starts_as_a_ramp_of_grey() -> None:
    part = TableOverlay(size=2)
    part.bind(image_door(8), table(1, means=(5.0,), stds=(2.0,)))
    values = torch.linspace(-100, 100, 41)[:, None]
    y: Tensor = part(part.prepare(values)).detach()[:, :, 3, 3]
    assert torch.equal(y[:, 0], y[:, 1])
    assert (y.diff(dim=0) >= 0).all()
    assert y[0].max() < 1e-6
    assert y[-1].min() > 1 - 1e-6
    at_mean = part(part.prepare(torch.tensor([[5.0]])))
    torch.testing.assert_close(at_mean, torch.full((1, 3, 8, 8), 0.5))


def test_without_columns_the_mean_of_all_holds() -> None:
    part = TableOverlay()
    part.bind(image_door(8), table(3, mean=4.0, std=2.0))
    torch.testing.assert_close(
        part.prepare(torch.tensor([[4.0, 6.0, 0.0]])), torch.tensor([[0.0, 1, -2]])
    )


def test_a_constant_column_says_nothing() -> None:
    part = TableOverlay()
    part.bind(image_door(8), table(2, means=(3.0, 0.0), stds=(0.0, 1.0)))
    assert torch.equal(part.prepare(torch.tensor([[3.0, 1.0]])), torch.tensor([[0.0, 1.0]]))


@pytest.mark.parametrize(
    ("host", "colour", "count"),
    [("trained", "trained", 3 * (64 - 3 * 4) + 18), ("trained", "grey", 3 * (64 - 3 * 4)),
     ("grey", "trained", 18), ("grey", "grey", 0)],
)  # fmt: skip
def test_what_is_trained(host, colour, count: int) -> None:
    part = TableOverlay(host=host, colour=colour)
    part.bind(image_door(8), table(3))
    assert sum(p.numel() for p in part.parameters()) == count
    assert part(part.prepare(torch.randn(2, 3))).shape == (2, 3, 8, 8)
