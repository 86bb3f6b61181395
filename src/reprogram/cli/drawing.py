"""What ``reprogram predict`` does with a program that makes images, or runs an automaton."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from reprogram.program import Program
    from reprogram.tasks import Reading

FILMED = 64  # samples in a film, at most
WIDE = 256  # pixels that a single image has on a sheet, about


def drawn(
    program: Program, classes: Sequence[str], out: Path | None, *, count: int, seed: int
) -> str:
    """Images of wanted classes in one file; the line that tells of it.

    Arguments:
        program: That makes images.
        classes: Names of what is wanted; ``all`` for every class.
        out: A ``.png`` with a row for each class, a ``.gif`` with the run step by step, or an
            ``.npz`` of ``images`` and ``labels``.
        count: Images of each class.
        seed: Of the noise.

    Raises:
        UserError: if there is no such class, or ``out`` is none of these files.
    """
    import numpy as np

    from reprogram.files import atomic_write
    from reprogram.types import UserError

    known = program.task.classes
    wanted = list(known) if list(classes) == ["all"] else list(classes)
    if out is None or out.suffix.lower() not in (".png", ".gif", ".npz"):
        given = "--out is missing" if out is None else f"--out {out} is no picture"
        raise UserError(f"{given}; the program makes images: give a .png, .gif or .npz")
    if count < 1:
        raise UserError(f"--count is {count}; give 1 or more")
    asked = [name for name in wanted for _ in range(count)]
    with atomic_write(out) as temporary, temporary.open("wb") as file:
        if out.suffix.lower() == ".gif":
            file.write(_film(program, asked, count, seed))
        else:
            made = program.draw(asked, seed=seed)
            if out.suffix.lower() == ".png":
                file.write(_sheet(made.images, count))
            else:
                np.savez_compressed(file, images=made.images.numpy(), labels=np.array(made.labels))
    return f"{len(asked)} images of {', '.join(wanted)}: {out}"


def filmed(program: Program, reading: Reading, out: Path, *, seed: int) -> None:
    """The run of an automaton on the first samples, as a ``.gif``."""
    import torch

    from reprogram.files import atomic_write
    from reprogram.report.film import film, gif, sheet

    x = reading.batch(torch.arange(min(len(reading), FILMED)))[0]
    columns = min(len(x), 8)
    scale = _scale(x.shape[-1])
    pages = [sheet(frame, columns=columns, scale=scale) for frame in film(program, x, seed=seed)]
    with atomic_write(out) as temporary:
        temporary.write_bytes(gif(pages))


def _sheet(images: Tensor, columns: int) -> bytes:
    from reprogram.report.film import png, sheet

    return png(sheet(images, columns=columns, scale=_scale(images.shape[-1])))


def _film(program: Program, asked: list[str], columns: int, seed: int) -> bytes:
    from reprogram.predictions import wanted
    from reprogram.report.film import film, gif, sheet

    frames = film(program, wanted(asked, program.task.classes), seed=seed)
    scale = _scale(frames[0].shape[-1])
    return gif([sheet(frame, columns=columns, scale=scale) for frame in frames])


def _scale(width: int) -> int:
    return max(1, min(4, WIDE // width))
