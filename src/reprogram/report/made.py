"""What a program makes: images of each class beside real ones, and runs of an automaton."""

from __future__ import annotations

import torch
from torch import Tensor

from reprogram.program import Program
from reprogram.report.film import film, gif, sheet
from reprogram.report.html import Markup, figure, join, tag
from reprogram.report.pictures import embed, embed_file
from reprogram.tasks.base import Split, Task

EACH = 8  # images of a class, and samples of a run
MOMENTS = 8  # of a run, side by side
WIDE = 480  # a sheet on the page, in pixels


def images(program: Program, task: Task) -> Markup:
    """Images of every class, drawn under the run's seed, beside real ones."""
    classes = program.task.classes
    made = program.draw([name for name in classes for _ in range(EACH)], seed=program.seed)
    sheets = [_sheet(made.images, EACH, "images that the program made")]
    told = f"{EACH} images of each class, top down: {', '.join(classes)}"
    _, split = _reported(task)
    real = _real(split, len(classes))
    shown = [figure(sheets[0], f"Made by the program. {told}.")]
    if real is not None:
        shown.append(figure(_sheet(real, EACH, "real images"), "Real ones of the same classes."))
    return tag("div", *shown, class_="side")


def run(program: Program, task: Task) -> Markup | None:
    """A run step by step: moments side by side, and the film of it; nothing without steps."""
    name, split = _reported(task)
    x = split.batch(torch.arange(min(EACH, len(split))))[0]
    frames = film(program, x, seed=program.seed)
    if len(frames) < 2:
        return None
    places = torch.linspace(0, len(frames) - 1, min(MOMENTS, len(frames))).round().long().tolist()
    strip = torch.stack([frames[place] for place in places], 1).flatten(0, 1)
    pages = [sheet(frame, columns=4, scale=2) for frame in frames]
    moments = _sheet(strip, len(places), "moments of runs")
    moving = embed_file(gif(pages), "gif", "the same runs as a film", *pages[0].shape[1::-1])
    told = f"Runs on {len(x)} {name} samples, a row each, from the first state to the last"
    if program.task.target == "cells":
        told += "; a living cell has the colour of the class that it says"
    return join([figure(moments, f"{told}."), figure(moving, "The same as a film.")])


def _reported(task: Task) -> tuple[str, Split]:
    parts = {"test": task.test, "validation": task.validation, "train": task.train}
    return next((name, split) for name, split in parts.items() if split is not None)


def _real(split: Split, classes: int) -> Tensor | None:
    """As many real images of each class, in the same order; none where a class has too few."""
    shown = split.strata()
    rows = [(shown == label).nonzero()[:EACH, 0] for label in range(classes)]
    if any(len(own) < EACH for own in rows):
        return None
    return split.wanted(torch.cat(rows))[0]


def _sheet(pictures: Tensor, columns: int, told: str) -> Markup:
    return embed(sheet(pictures, columns=columns), told, width=WIDE)
