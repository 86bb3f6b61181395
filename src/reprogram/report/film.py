"""What a program makes, as pictures: a sheet of images, a strip of a run, a film of it."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from reprogram.draws import forked_rng
from reprogram.program import Program
from reprogram.sources import bare

FRAMES = 60  # of a film, at most
SECONDS = 4.0  # that a film lasts
Picture = UInt8[np.ndarray, "rows columns 3"]


@torch.no_grad()
def film(program: Program, x: Tensor, *, seed: int = 0, most: int = FRAMES) -> list[Tensor]:
    """A run step by step, as pictures (batch, 3, height, width) in [0, 1].

    A source without steps has one picture. What living cells say is drawn in a colour for each
    class, on black.

    Arguments:
        program: Whose task asks for images or cells.
        x: Samples (batch, *task.input.shape).
        seed: Of the draws.
        most: Frames, evenly spread over the run, the first and the last among them.
    """
    model = program.model
    draw = _said if program.task.target == "cells" else _pixels
    with forked_rng(seed, 0):
        inputs = model.transformation(model.transformation.prepare(x.to(program.device)))
        shown = [draw(model.mapping(state).cpu()) for state in bare(model.source).run(inputs)]
    places = np.linspace(0, len(shown) - 1, min(most, len(shown))).round().astype(int)
    return [shown[place].float() / 255 for place in places]


def sheet(images: Float[Tensor, "n c h w"], *, columns: int, scale: int = 1) -> Picture:
    """Images side by side, row after row, a pixel of white between them.

    Arguments:
        images: In [0, 1], of one, three or four channels (see :func:`opaque`).
        columns: Images in a row.
        scale: Side of a pixel.

    Example:
        >>> sheet(torch.zeros(5, 1, 8, 8), columns=3).shape
        (19, 28, 3)
    """
    images = opaque(images)
    n, _, height, width = images.shape
    rows = -(-n // columns)
    page = torch.ones(3, rows * (height + 1) + 1, columns * (width + 1) + 1)
    for i, image in enumerate(images):
        top, left = (i // columns) * (height + 1) + 1, (i % columns) * (width + 1) + 1
        page[:, top : top + height, left : left + width] = image
    pixels = (255 * page).round().byte().permute(1, 2, 0).numpy()
    return pixels.repeat(scale, 0).repeat(scale, 1)


def opaque(images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 3 h w"]:
    """Images in colour; those with opacity, their colours multiplied by it, on white."""
    if images.shape[1] == 4:
        images = images[:, :3] + 1 - images[:, 3:].clamp(0, 1)
    return images.clamp(0, 1).expand(-1, 3, -1, -1)


def png(page: Picture) -> bytes:
    """The file of a picture."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(page).save(file, format="PNG", optimize=True)
    return file.getvalue()


def gif(pages: Sequence[Picture]) -> bytes:
    """The animated file of pictures of one size; it starts again at its end.

    Example:
        >>> gif([np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)])[:6]
        b'GIF89a'
    """
    from PIL import Image

    first, *others = [Image.fromarray(page) for page in pages]
    file = io.BytesIO()
    pause = max(20, round(1000 * SECONDS / len(pages)))
    first.save(file, format="GIF", save_all=True, append_images=others, duration=pause, loop=0)
    return file.getvalue()


def _pixels(images: Float[Tensor, "n c h w"]) -> UInt8[Tensor, "n 3 h w"]:
    """Images as they are."""
    return (255 * opaque(images)).round().byte()


def _said(scores: Float[Tensor, "n h w classes"]) -> UInt8[Tensor, "n 3 h w"]:
    """Living cells in the colour of the class that they say; a dead one says all alike."""
    palette = torch.tensor(colours(scores.shape[-1]))  # (classes, 3)
    living = scores.amax(-1, keepdim=True) > scores.amin(-1, keepdim=True)
    return (255 * palette[scores.argmax(-1)] * living).round().byte().movedim(-1, 1)


def colours(classes: int) -> list[tuple[float, float, float]]:
    """As many colours that can be told apart.

    Example:
        >>> len(set(colours(10)))
        10
    """
    return [colorsys.hsv_to_rgb(i / classes, 0.85, 0.95 - 0.3 * (i % 2)) for i in range(classes)]
