"""Draws the pictures that ship with the library: a gecko, and what it may be made to become.

    python zoo/draw_pictures.py [src/reprogram/zoo/pictures]

24 x 24 pixels each: ``gecko``, from which ``zoo:growing-ca`` is trained; ``gecko_no_tail``;
``gecko_red``. Ours, Apache-2.0.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw

SIDE, FINE = 24, 16  # pixels, and how much finer it is drawn first
GREEN, RED = ((96, 176, 64), (48, 112, 48)), ((214, 84, 60), (140, 36, 44))  # body, legs and spots
TAIL = [(12, 15), (12.6, 17.5), (14.6, 19.4), (17.2, 19.6), (19, 18), (19.2, 16.2)]
LEGS = [
    [(10, 8.5), (6.5, 7), (4.5, 4.5)], [(14, 8.5), (17.5, 7), (19.5, 4.5)],
    [(10, 13.5), (6.5, 15), (5, 18.5)], [(14, 13.5), (17, 13.2), (19.4, 11.2)],
]  # fmt: skip
SPOTS = [(12, 7.8), (11, 10), (13, 11.3), (11.8, 13.4)]


def gecko(
    colours: tuple[tuple[int, int, int], tuple[int, int, int]] = GREEN, *, tail: bool = True
) -> Image.Image:
    """The animal from above."""
    body, dark = colours
    image = Image.new("RGBA", (SIDE * FINE, SIDE * FINE), (*body, 0))
    draw = ImageDraw.Draw(image)

    def dot(x: float, y: float, wide: float, high: float, colour: tuple[int, int, int]) -> None:
        box = (x - wide, y - high, x + wide, y + high)
        draw.ellipse([round(value * FINE) for value in box], fill=colour)

    def limb(points: list[tuple[float, float]], thick: float, thin: float,
             colour: tuple[int, int, int]) -> None:  # fmt: skip
        parts = 24  # dots between two points
        dots = (len(points) - 1) * parts
        for number in range(dots + 1):
            share = number / dots
            first, part = divmod(number, parts)
            (x, y), (u, v) = points[first], points[min(first + 1, len(points) - 1)]
            wide = thick + (thin - thick) * share
            dot(x + (u - x) * part / parts, y + (v - y) * part / parts, wide, wide, colour)

    for points in LEGS:
        limb(points, 1.3, 1.0, dark)
        x, y = points[-1]
        dot(x, y, 1.5, 1.3, dark)
    if tail:
        limb(TAIL, 1.9, 0.7, body)
    dot(12, 11, 3.1, 5.2, body)
    dot(12, 4.6, 2.7, 2.9, body)
    for x, y in SPOTS:
        dot(x, y, 0.75, 0.75, dark)
    for x in (10.4, 13.6):
        dot(x, 3.6, 0.8, 0.8, (24, 24, 24))
    return image.resize((SIDE, SIDE), Image.Resampling.BOX)


def main() -> None:
    """Writes them."""
    pictures = {
        "gecko": gecko(), "gecko_no_tail": gecko(tail=False), "gecko_red": gecko(RED),
    }  # fmt: skip
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "src/reprogram/zoo/pictures")
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures.items():
        picture.save(folder / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
