"""Tensors as embedded PNG files: images in their natural units, tables of numbers as heat."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from reprogram.report.html import Markup, tag

SMALL = 100  # a side below which pixels are shown as squares
# anchors of two palettes, from low to high: one from dark to bright, one around its middle
SEQUENTIAL = ((28, 24, 64), (52, 86, 139), (38, 145, 141), (122, 205, 96), (250, 230, 60))
DIVERGING = ((33, 84, 160), (130, 175, 219), (244, 243, 240), (238, 155, 112), (178, 44, 44))


def image(
    x: Float[Tensor, "c h w"], lower: float, upper: float, told: str, *, width: int = 112
) -> Markup:
    """An image whose values ``lower`` to ``upper`` go from black to full.

    Arguments:
        x: Grey (one channel) or colour (three); any other number is shown as its mean.
        lower: Drawn black, as is everything below.
        upper: Drawn full, as is everything above.
        told: What is seen, for readers who do not see it.
        width: On the page, in pixels.
    """
    x = x.detach().float().cpu()
    if x.shape[0] not in (1, 3):
        x = x.mean(0, keepdim=True)
    share = (x - lower) / (upper - lower if upper > lower else 1.0)
    pixels = (255 * share.nan_to_num(0.0).clamp(0, 1)).round().byte()
    pixels = pixels.expand(3, -1, -1).permute(1, 2, 0)  # (h, w, 3)
    return embed(pixels.numpy(), told, width=width)


def heat(
    x: Float[Tensor, "rows columns"], told: str, *, width: int = 240,
    bounds: tuple[float, float] | None = None, square: bool = False,
) -> Markup:  # fmt: skip
    """A table of numbers in colour, first row on top; around zero where both signs occur.

    Arguments:
        x: What is drawn.
        told: What is seen, for readers who do not see it.
        width: On the page, in pixels.
        bounds: Values of the two ends of the palette; those of ``x`` if absent.
        square: Whether its cells are.
    """
    x = x.detach().float().cpu()
    lower, upper = bounds or extent(x)
    palette = SEQUENTIAL
    if lower < 0 < upper:
        upper = max(-lower, upper)
        lower, palette = -upper, DIVERGING
    share = ((x - lower) / (upper - lower if upper > lower else 1.0)).nan_to_num(0.0).clamp(0, 1)
    at = share.numpy() * (len(palette) - 1)
    anchors = np.array(palette, dtype=float)
    colours = [np.interp(at, range(len(palette)), anchors[:, channel]) for channel in range(3)]
    return embed(np.stack(colours, 2).round().astype(np.uint8), told, width=width, square=square)


def embed(pixels: np.ndarray, told: str, *, width: int, square: bool = True) -> Markup:
    """(h, w, 3) bytes as a PNG inside the page.

    Example:
        >>> embed(np.zeros((2, 2, 3), np.uint8), "black", width=10)[:40]
        '<img src="data:image/png;base64,iVBORw0K'
    """
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", optimize=True)
    rows, columns = pixels.shape[:2]
    height = round(width * rows / columns) if square else min(max(round(width * 0.45), 60), 220)
    small = max(rows, columns) < SMALL
    return embed_file(file.getvalue(), "png", told, width, max(height, 1), pixels=small)


def embed_file(
    content: bytes, form: str, told: str, width: int, height: int, *, pixels: bool = False
) -> Markup:
    """The file of a picture inside the page.

    Arguments:
        content: The file.
        form: ``png`` or ``gif``.
        told: What is seen, for readers who do not see it.
        width: On the page, in pixels.
        height: Likewise.
        pixels: Whether pixels are shown as squares.
    """
    data = base64.b64encode(content).decode()
    return tag(
        "img",
        src=f"data:image/{form};base64,{data}",
        alt=told,
        width=width,
        height=height,
        class_="pixels" if pixels else None,
    )


def extent(x: Tensor) -> tuple[float, float]:
    """The smallest and the largest finite value; 0 and 0 where there is none.

    Example:
        >>> extent(torch.tensor([1.0, float("nan"), -2.0]))
        (-2.0, 1.0)
    """
    finite = x[torch.isfinite(x)]
    return (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)


def drawn_bounds(x: Tensor, lower: float, upper: float) -> tuple[float, float]:
    """Between which values a pattern is drawn: the source's bounds, where it stays within them.

    What is added to an image may have either sign: it is drawn around a middle grey of zero, as
    far to either side as half the source's range, or as it goes itself where that is further.

    Example:
        >>> drawn_bounds(torch.tensor([0.2, 0.9]), 0.0, 1.0)
        (0.0, 1.0)
        >>> drawn_bounds(torch.tensor([-0.25, 0.125]), 0.0, 1.0)
        (-0.5, 0.5)
    """
    least, most = extent(x)
    slack = 1e-6 * max(abs(least), abs(most), 1.0)
    finite = math.isfinite(lower) and math.isfinite(upper)
    if finite and least >= lower - slack and most <= upper + slack:
        return lower, upper
    if least < 0:
        reach = max(-least, most, (upper - lower) / 2 if finite else 0.0)
        return -reach, reach
    return least, most
