"""A generator so small that its program is known, and a task of the pictures it can draw."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reprogram.sources import TorchSource
from reprogram.tasks.base import Split, Task
from reprogram.types import InputSpec, OutputSpec, TaskSpec

SIDE, NOISE = 8, 6


def pictures() -> Tensor:
    """Two pictures (2, 1, 8, 8): lying stripes, or standing ones."""
    lying = (torch.arange(SIDE) // 2 % 2).float()[:, None].expand(SIDE, SIDE)
    return torch.stack([lying, lying.T])[:, None].contiguous()


class Decoder(nn.Module):
    """Noise to images in [0, 1]: the sign of its sum says which picture, its parts how bright."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.choose = nn.Linear(NOISE, 1, bias=False)
        self.light = nn.Linear(NOISE, SIDE * SIDE)
        self.choose.weight.data.fill_(2.0)
        self.light.weight.data = 0.1 * torch.randn(SIDE * SIDE, NOISE, generator=generator)
        self.light.bias.data.fill_(2.0)
        self.register_buffer("pictures", pictures())

    def forward(self, z: Tensor) -> Tensor:
        """(batch, z) -> (batch, 1, 8, 8)."""
        share = self.choose(z).sigmoid()[:, :, None, None]
        first, second = self.pictures  # pyright: ignore
        light = self.light(z).sigmoid().unflatten(1, (1, SIDE, SIDE))
        return light * ((1 - share) * first + share * second)


def drawing_source() -> TorchSource:
    """With the door ``noise``; half of what it draws at random is of either picture."""
    spec = OutputSpec("image", (1, SIDE, SIDE))
    return TorchSource(Decoder(), spec, input=InputSpec("noise", (NOISE,)))


def drawing_spec(counts: tuple[int, ...] = (20, 20)) -> TaskSpec:
    """Of a task that wants either picture."""
    shape = (1, SIDE, SIDE)
    return TaskSpec(
        "drawing", InputSpec("class", ()), ("lying", "standing"), counts, "image", shape
    )


def drawing_task(train: int = 40, test: int = 20) -> Task:
    """Wanted classes, and pictures of them that the decoder has drawn."""
    decoder, generator = Decoder(), torch.Generator().manual_seed(1)

    def split(n: int) -> Split:
        y = torch.arange(n) % 2
        z = torch.randn(n, NOISE, generator=generator)
        z = z * ((z.sum(1) > 0) == (y > 0)).float().mul(2).sub(1)[:, None]
        z = z + 0.5 * (2 * y - 1)[:, None]  # none between the pictures
        with torch.no_grad():
            images = decoder(z)
        weights = nn.functional.one_hot(y, 2).float()
        return Split(y.float(), images, weights, tuple(map(str, range(n))))  # pyright: ignore

    rows = split(train)
    counts = tuple(int(n) for n in rows.weights.sum(0))
    return Task(drawing_spec(counts), rows, None, split(test) if test else None)


def shown(images: Tensor) -> Tensor:
    """Which picture an image is nearer to (batch,)."""
    first, second = pictures()
    return ((images * second).sum((1, 2, 3)) > (images * first).sum((1, 2, 3))).long()


class Reader(nn.Module):
    """Tells the two pictures apart, by features that it shows."""

    def features(self, x: Tensor) -> Tensor:
        """(batch, 1, 8, 8) -> (batch, 3): how much is seen of either, and how bright it is."""
        seen = [(x * picture).mean((1, 2, 3)) for picture in pictures()]
        return torch.stack([*seen, x.square().mean((1, 2, 3))], 1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 1, 8, 8) -> (batch, 2)."""
        return 20 * self.features(x)[:, :2]


def reading_source(names: tuple[str, ...] = ("lying", "standing")) -> TorchSource:
    """A judge of such images."""
    output = OutputSpec("classes", (2,), names)
    return TorchSource(Reader(), output, input=InputSpec("image", (1, SIDE, SIDE), 0, 1))
