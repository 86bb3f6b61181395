"""Doors and tasks of given shapes, for tests that look at values alone."""

import math

import tiny
import torch

from reprogram.sources import CallableSource, TorchSource
from reprogram.tasks.base import Task
from reprogram.types import InputSpec, OutputSpec, TaskSpec


def waveform_door(window: int, rate: float | None = None) -> CallableSource:
    """Waveforms in [-1, 1]."""
    spec = InputSpec("waveform", (window,), -1, 1, rate=rate)
    return CallableSource(len, spec, OutputSpec("classes", (4,)))


def series(length: int, channels: int = 1, mean: float = 0.0, std: float = 1.0) -> TaskSpec:
    """A task of series."""
    return TaskSpec("toy", InputSpec("series", (channels, length), mean=mean, std=std), ("a", "b"))


def image_door(
    height: int, lower: float = 0.0, upper: float = 1.0, *, width: int | None = None,
    channels: int = 3,
) -> CallableSource:  # fmt: skip
    """Images, square unless a width is given."""
    spec = InputSpec("image", (channels, height, width or height), lower, upper)
    return CallableSource(len, spec, OutputSpec("classes", (4,)))


def open_door(side: int, mean: float = 0.0, std: float = 1.0) -> CallableSource:
    """Normalised images without bounds."""
    spec = InputSpec("image", (3, side, side), normalised=True, mean=mean, std=std)
    return CallableSource(len, spec, OutputSpec("classes", (4,)))


def images(
    height: int, width: int, channels: int = 1, mean: float = 0.0, std: float = 1.0
) -> TaskSpec:
    """A task of images in [0, 1]."""
    spec = InputSpec("image", (channels, height, width), 0, 1, mean=mean, std=std)
    return TaskSpec("toy", spec, ("a", "b"))


def table(columns: int, **known: tuple[float, ...]) -> TaskSpec:
    """A task of numbers."""
    return TaskSpec("toy", InputSpec("table", (columns,), **known), ("a", "b"))


def open_image_source() -> TorchSource:
    """The tiny image source, of which no bounds are known."""
    spec = InputSpec("image", (3, tiny.SIDE, tiny.SIDE), -math.inf, math.inf)
    return TorchSource(tiny.seeded(tiny.ImageNetwork), tiny.output_spec(), input=spec)


def table_task() -> Task:
    """Three classes of rows of seven numbers."""
    centres = torch.arange(21.0).reshape(3, 7).cos()
    return tiny._task("rows", "table", centres, (20, 30, 12), 0, 3.0, 2.0)


def multispectral_task() -> Task:
    """Three corners of images of five channels."""
    corners = torch.rand(3, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    return tiny._task("bands", "image", corners, (20, 30, 12), 0, 0.3, 0.4)
