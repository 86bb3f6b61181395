"""Curves and bars as inline SVG; colours are the style sheet's, so that they follow dark mode."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from reprogram.report.html import Markup, number, short, tag

Curves = Mapping[str, Sequence[tuple[float, float]]]

LONGEST = 16  # letters of a class's name beside a matrix
BINS = 320  # of a long line: more than a screen shows at this width


def chart(curves: Curves, told: str, *, mark: float | None = None, along: str = "epoch") -> Markup:
    """Curves over the epochs, or other whole numbers, with axes and a legend.

    Arguments:
        curves: Points by name; the first is drawn in the first colour.
        told: What is measured.
        mark: An epoch to point at.
        along: What the numbers are.
    """
    width, height, left, top, right, bottom = 460, 250, 48, 36, 448, 216  # the last four: the plot
    points = [point for curve in curves.values() for point in curve]
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    levels = ticks(min(y for _, y in points), max(y for _, y in points))

    def across(x: float) -> float:
        return left + (right - left) * ((x - first) / (last - first) if last > first else 0.5)

    def down(y: float) -> float:
        return bottom - (bottom - top) * (y - levels[0]) / (levels[-1] - levels[0])

    parts = [tag("title", f"{told} by {along}")]
    for y in levels:
        parts += [
            _rule(left, down(y), right, down(y)),
            _text(short(y), left - 8, down(y) + 4, "end"),
        ]
    for x in epochs(int(first), int(last)):
        parts.append(_text(f"{x:,}", across(x), bottom + 18, "middle"))
    parts.append(_text(along, right, height - 2, "end"))
    if mark is not None:
        parts.append(_rule(across(mark), top, across(mark), bottom, "mark"))
    legend = left
    for i, (name, curve) in enumerate(curves.items()):
        places = [(across(x), down(y)) for x, y in curve]
        parts.append(tag("polyline", points=_points(places), class_=f"curve c{i % 4}"))
        for x, y in places if len(places) <= 30 else ():
            parts.append(tag("circle", cx=_r(x), cy=_r(y), r=2.5, class_=f"dot c{i % 4}"))
        parts += [_box(legend, 12, 14, 3, f"dot c{i % 4}"), _text(name, legend + 20, 18)]
        legend += 36 + 7 * len(name)
    return _svg(width, height, told, parts)


def bars(values: Mapping[str, float], told: str, *, strong: str, full: float = 1.0) -> Markup:
    """Numbers as bars from 0 to ``full``, the one named ``strong`` in the accent colour."""
    width, left, step, room = 460, 150, 26, 250
    parts = [tag("title", told)]
    for i, (name, value) in enumerate(values.items()):
        y, share = 4 + i * step, min(max(value / full, 0.0), 1.0)
        parts += [
            _text(name, left - 10, y + 14, "end"),
            _box(left, y, room, 18, "rail"),
            _box(left, y, share * room, 18, "dot c0" if name == strong else "dot muted"),
            _text(number(value), left + room + 8, y + 14),
        ]
    return _svg(width, step * len(values) + 6, told, parts)


def line(
    values: Float[Tensor, "channels length"], bounds: tuple[float, float], told: str, *,
    width: int = 240, height: int = 84,
) -> Markup:  # fmt: skip
    """Values in order, a line a channel; a long one as the band that it fills.

    Arguments:
        values: What is drawn.
        bounds: Values at the bottom and at the top.
        told: What is seen, for readers who do not see it.
        width: In pixels.
        height: In pixels.
    """
    values = values.detach().float().cpu()
    lower, upper = bounds
    length = values.shape[1]

    def up(value: float) -> float:
        share = (value - lower) / (upper - lower) if upper > lower else 0.5
        return height - 3 - min(max(share, 0.0), 1.0) * (height - 6)

    parts = [tag("title", told)]
    if lower < 0 < upper:
        parts.append(_rule(0, up(0), width, up(0)))
    for i, row in enumerate(values):
        if length <= 2 * BINS:
            step = width / max(length - 1, 1)
            places = [(j * step, up(v)) for j, v in enumerate(row.tolist())]
            parts.append(tag("polyline", points=_points(places), class_=f"curve thin c{i % 4}"))
            continue
        low, high = envelope(row)
        step = width / (len(low) - 1)
        over = [(j * step, up(v)) for j, v in enumerate(high)]
        under = [(j * step, up(v)) for j, v in enumerate(low)]
        parts.append(tag("polygon", points=_points([*over, *under[::-1]]), class_=f"band c{i % 4}"))
    return _svg(width, height, told, parts)


def envelope(row: Float[Tensor, " length"]) -> tuple[list[float], list[float]]:
    """The least and the greatest value in each of ``BINS`` even stretches of a long line."""
    edges = torch.linspace(0, len(row), BINS + 1).round().long().tolist()
    pieces = [row[a:b] for a, b in itertools.pairwise(edges)]
    return [float(p.min()) for p in pieces], [float(p.max()) for p in pieces]


def confusion(counts: Float[Tensor, "true predicted"], names: Sequence[str]) -> Markup:
    """How often each class (a row) was taken for each (a column), shaded by the row's share."""
    classes, cell = len(names), 38 if len(names) <= 12 else 27
    widest = min(max(map(len, names)), LONGEST)
    left, top = 24 + 7 * widest, 24 + 5 * widest
    right = left + cell * classes
    shares = counts / counts.sum(1, keepdim=True).clamp_min(1)
    parts = [tag("title", "confusion matrix"), _text("recall", right + 10, top - 8)]
    for i, name in enumerate(names):
        x, y = left + cell * (i + 0.5), top + cell * (i + 0.5)
        parts.append(_text(clipped(name), left - 8, y + 4, "end"))
        if widest <= 3:
            parts.append(_text(clipped(name), x, top - 8, "middle"))
        else:
            parts.append(_text(clipped(name), x, top - 8, turn=-40))
        if counts[i].sum() > 0:
            parts.append(_text(f"{float(shares[i, i]):.2f}", right + 10, y + 4))
    for i, row in enumerate(counts.tolist()):
        for j, count in enumerate(row):
            x, y, share = left + cell * j, top + cell * i, float(shares[i, j])
            parts.append(_box(x + 1, y + 1, cell - 2, cell - 2, "rail"))
            if count:
                shade, colour = f"{0.12 + 0.78 * share:.2f}", "dot c0" if i == j else "dot c1"
                parts += [
                    _box(x + 1, y + 1, cell - 2, cell - 2, colour, shade),
                    _text(f"{count:g}", x + cell / 2, y + cell / 2 + 4,
                          "middle strong" if share < 0.6 else "middle on"),
                ]  # fmt: skip
    return _svg(right + 60, top + cell * classes + 8, "rows: true class, columns: predicted", parts)


def clipped(name: str, most: int = LONGEST) -> str:
    """A name that fits a row.

    Example:
        >>> clipped("a rather long class name")
        'a rather long c…'
    """
    return name if len(name) <= most else f"{name[: most - 1]}…"


def ticks(lower: float, upper: float) -> list[float]:
    """Three to seven round values from just below ``lower`` to just above ``upper``.

    Example:
        >>> ticks(0.45, 0.62)
        [0.45, 0.5, 0.55, 0.6, 0.65]
    """
    if upper <= lower:
        upper, lower = upper + 0.05, lower - 0.05
    rough = (upper - lower) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(f * power for f in (1, 2, 2.5, 5, 10) if f * power >= rough * 0.9999)
    first, last = math.floor(lower / step + 1e-9), math.ceil(upper / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def epochs(first: int, last: int) -> list[int]:
    """At most nine of the epochs, evenly apart, the first among them.

    Example:
        >>> epochs(1, 3), epochs(1, 60)
        ([1, 2, 3], [1, 11, 21, 31, 41, 51])
    """
    steps = [m * 10**k for k in range(9) for m in (1, 2, 5)]
    step = next((s for s in steps if (last - first) / s <= 8), max(last - first, 1))
    return list(range(first, last + 1, step))


def _svg(width: int, height: int, told: str, parts: Sequence[Markup]) -> Markup:
    return tag("svg", *parts, viewBox=f"0 0 {width} {height}", width=width, height=height,
               role="img", aria_label=told)  # fmt: skip


def _text(
    told: object, x: float, y: float, class_: str | None = None, turn: int | None = None
) -> Markup:
    turned = None if turn is None else f"rotate({turn} {_r(x)} {_r(y)})"
    return tag("text", told, x=_r(x), y=_r(y), class_=class_, transform=turned)


def _rule(x1: float, y1: float, x2: float, y2: float, class_: str = "grid") -> Markup:
    return tag("line", x1=_r(x1), y1=_r(y1), x2=_r(x2), y2=_r(y2), class_=class_)


def _box(
    x: float, y: float, width: float, height: float, class_: str, opacity: str | None = None
) -> Markup:
    return tag("rect", x=_r(x), y=_r(y), width=_r(width), height=_r(height), rx=2, class_=class_,
               fill_opacity=opacity)  # fmt: skip


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{_r(x)},{_r(y)}" for x, y in places)


def _r(value: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")
