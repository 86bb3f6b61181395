"""Automata and tasks so small that a test may run them many times."""

from typing import Any

import torch

from reprogram.sources import Source
from reprogram.sources.automata import DigitCell, GrowingCell, automaton_source
from reprogram.tasks.base import Split, Task
from reprogram.types import InputSpec, OutputSpec, TaskSpec

SIDE, CLASSES, STEPS = 6, 3, 4


def woken(cell: Any, seed: int = 0) -> Any:
    """A cell whose last layer says something."""
    generator = torch.Generator().manual_seed(seed)
    cell.reset(generator)
    cell.out.weight.data.normal_(0, 0.1, generator=generator)
    return cell


def digits(steps: int = STEPS, **numbers: Any) -> Source:
    """An automaton on images of 6 x 6, 3 classes."""
    cell = DigitCell(channels=6, classes=CLASSES, width=8, **numbers)
    return automaton_source(woken(cell), steps=steps, shape=(SIDE, SIDE))


def growing(steps: int = STEPS) -> Source:
    """An automaton that grows on a grid of 8 x 8."""
    cell = woken(GrowingCell(channels=6, width=8))
    cell.out.bias.data[3] = 0.3  # it spreads
    return automaton_source(cell, steps=steps, shape=(8, 8))


def digits_task(rows: int = 12, say: int = 2) -> Task:
    """Random images whose every living cell should say one class."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(rows, 1, SIDE, SIDE, generator=generator)
    images = images * (torch.rand(images.shape, generator=generator) < 0.6)
    living = (images[:, 0] > 0.1).float()
    targets = torch.full((rows, SIDE, SIDE), say)
    split = Split(images, targets, living, tuple(map(str, range(rows))))
    spec = TaskSpec("toy", InputSpec("image", (1, SIDE, SIDE), 0.0, 1.0), ("a", "b", "c"),
                    target="cells")  # fmt: skip
    return Task(spec, split, split, split)


def growing_task(rows: int = 8, side: int = 8) -> Task:
    """A square that should grow, from a seed and from what has grown."""
    picture = torch.zeros(4, side, side)
    picture[:, 2:6, 2:6] = 0.7
    starts = torch.arange(rows) % 2
    split = Split(
        starts.float(), picture.expand(rows, -1, -1, -1),
        torch.nn.functional.one_hot(starts, 2).float(), tuple(map(str, range(rows))),
    )  # fmt: skip
    spec = TaskSpec("square", InputSpec("class", (), 0.0, 1.0), ("seed", "grown"),
                    target="image", shape=(4, side, side))  # fmt: skip
    return Task(spec, split, split, split)


class TinyImage:
    """What a mapping asks of a source."""

    uri = lexicon = None
    input = InputSpec("noise", (2,))

    def __init__(self, output: OutputSpec) -> None:
        self.output = output


WORLDS = {"digits": (digits, digits_task), "growing": (growing, growing_task)}


def world(name: str) -> tuple[Any, Any]:
    """A source and a task for it."""
    source, task = WORLDS[name]
    return source(), task()
