"""A picture that an automaton is to grow."""

from __future__ import annotations

import io
import zipfile
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from reprogram.files import find_file
from reprogram.tasks.base import Split, Task
from reprogram.types import InputSpec, TaskSpec, UserError

STARTS = ("seed", "grown")
PUBLISHED = "nca/growing_ca_target_images.zip"
COMMIT = "3d5547ca48b60ecac459834e2c05c9ff5df87991"
URL = (
    f"https://raw.githubusercontent.com/google-research/self-organising-systems/{COMMIT}/"
    "adversarial_reprogramming_ca/assets/growing_ca_target_images.zip"
)
SHA256 = "a1b5d64c2c37b8cb793120669d6d4ede92fcf94a7b4234d8fd60e7c0b7b11109"
EMBEDDED = files("reprogram") / "zoo" / "pictures"


def load_grow(
    picture: str, *, size: int | None = None, pad: int | None = None, rows: int = 256, seed: int = 0
) -> Task:
    """Grow a picture, from a single living cell and from what the source has grown already.

    A sample is where a run starts: ``seed`` or ``grown``, in turns. Its target is the picture:
    red, green, blue and opacity in [0, 1], the colours multiplied by the opacity. All samples are
    the same but for chance, so that splits differ in what is drawn and in nothing else.

    Arguments:
        picture: Path of a picture with transparency; the name of one that ships with the library
            (``gecko``) or of a published one (``lizard_no_tail``).
        size: Longest side of the picture in cells, >= 1; by default 24 of one that ships, as
            ``zoo:growing-ca`` has learned it, and 40 of others, as the published lizard is.
        pad: Empty cells around it, >= 0; by default 4 of one that ships, 16 of others.
        rows: Of the training split, >= 2; an eighth of it, but at least 8, for validation and test.
        seed: Taken for all tasks' sake; nothing is drawn.

    References:
        Mordvintsev, Randazzo, Niklasson, Levin, Growing Neural Cellular Automata, 2020 (Distill).
        Randazzo, Mordvintsev, Niklasson, Levin, Adversarial Reprogramming of Neural Cellular
        Automata, 2021 (Distill, selforg/2021/adversarial).

    Raises:
        UserError: if there is no such picture, nothing in it is opaque, or a number is out of its
            range.
    """
    del seed
    usual, room = (24, 4) if (EMBEDDED / f"{picture}.png").is_file() else (40, 16)
    size, pad = usual if size is None else size, room if pad is None else pad
    for name, value, least in (("size", size, 1), ("pad", pad, 0), ("rows", rows, 2)):
        if value < least:
            raise UserError(f"argument {name!r} is {value}; give {least} or more")
    target = torch.nn.functional.pad(read_picture(picture, size), (pad, pad, pad, pad))
    if not (target[3] > 0.1).any():
        raise UserError(f"picture {picture!r} has no opaque pixel; give one with something on a "
                        "transparent ground")  # fmt: skip
    fewer = max(8, rows // 8)
    parts = {
        name: _split(target, count, f"{Path(picture).stem}:{name}")
        for name, count in (("train", rows), ("validation", fewer), ("test", fewer))
    }
    spec = TaskSpec(
        f"grow:{picture}", InputSpec("class", (), lower=0.0, upper=1.0), STARTS,
        (rows - rows // 2, rows // 2), target="image", shape=tuple(target.shape),
    )  # fmt: skip
    return Task(spec, parts["train"], parts["validation"], parts["test"])


def read_picture(picture: str, size: int) -> Tensor:
    """(4, height, width) in [0, 1], the longest side ``size``, colours times opacity."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(_find(picture)) as image:
            image = image.convert("RGBA")
    except (UnidentifiedImageError, OSError) as error:
        raise UserError(f"picture {picture!r} cannot be read: {error}") from None
    image.thumbnail((size, size), Image.Resampling.LANCZOS)
    values = torch.from_numpy(np.asarray(image).copy()).float().permute(2, 0, 1) / 255
    return torch.cat([values[:3] * values[3:], values[3:]])


def _find(picture: str) -> Path | io.BytesIO:
    """The file of a picture: the user's, one that ships, or a published one."""
    if Path(picture).expanduser().is_file():
        return Path(picture).expanduser()
    shipped = EMBEDDED / f"{picture}.png"
    if shipped.is_file():
        return io.BytesIO(shipped.read_bytes())
    if not picture.isidentifier():
        raise UserError(f"there is no picture {picture!r}; give the path of one")
    with zipfile.ZipFile(find_file(PUBLISHED, url=URL, sha256=SHA256)) as archive:
        known = sorted(Path(name).stem for name in archive.namelist())
        if picture not in known:
            raise UserError(f"there is no picture {picture!r}; give the path of one, or a "
                            f"published one: {', '.join(known)}")  # fmt: skip
        return io.BytesIO(archive.read(f"{picture}.png"))


def _split(target: Tensor, count: int, name: str) -> Split:
    starts = torch.arange(count) % len(STARTS)
    shown = torch.nn.functional.one_hot(starts, len(STARTS)).float()
    targets = target.expand(count, *target.shape)
    return Split(starts.float(), targets, shown, tuple(f"{name}:{i}" for i in range(count)))
