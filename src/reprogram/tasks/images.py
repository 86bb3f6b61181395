"""Image files: one folder a class, or a heap of them."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reprogram.tasks.build import Samples
from reprogram.tasks.tables import SPLITS
from reprogram.types import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
HELD_BYTES = 2**31  # more pixels than this stay in their files
_GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")


@dataclass(frozen=True)
class ImageFiles:
    """Images that are decoded when a batch wants them.

    Arguments:
        paths: One file a row.
        channels: 1 for grey, 3 for colour.
        size: Height and width to which every image is resized, in pixels.
    """

    paths: tuple[Path, ...]
    channels: int
    size: tuple[int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, channels, height, width)."""
        return (len(self), self.channels, *self.size)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, indices: Tensor) -> Tensor:
        """(rows,) indices -> (rows, channels, height, width) uint8."""
        return torch.stack(
            [decode(self.paths[i], self.channels, self.size) for i in indices.tolist()]
        )

    def subset(self, indices: Tensor) -> ImageFiles:
        """These images only."""
        chosen = tuple(self.paths[i] for i in indices.tolist())
        return ImageFiles(chosen, self.channels, self.size)

    def contents(self) -> list[bytes]:
        """A digest of each file."""
        return [hashlib.sha256(path.read_bytes()).digest() for path in self.paths]


def decode(path: Path, channels: int, size: tuple[int, int]) -> Tensor:
    """One image as pixels (channels, height, width) uint8.

    Palettes and inks (CMYK) become their colours, transparent images are laid on white, an
    animation gives its first frame, 16-bit values are divided by 257 (of colour: by 256), and the
    camera's orientation is applied.

    Raises:
        UserError: if the file is no image, is cut off, or holds other than 8- or 16-bit values.
    """
    with _opened(path) as image:
        image.load()
        return to_pixels(image, channels, size, str(path))


def to_pixels(image: Any, channels: int, size: tuple[int, int], where: str) -> Tensor:
    """A PIL image as pixels (channels, height, width) uint8.

    Raises:
        UserError: if it holds other than 8- or 16-bit values.
    """
    from PIL import Image, ImageOps

    if image.mode == "F" or (image.mode == "I" and not _sixteen(image)):
        raise UserError(f"image {where} holds {image.mode}-mode values, neither 8 nor 16 bits; "
                        "save it as 8-bit PNG")  # fmt: skip
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).astype(np.int64) // 257).astype(np.uint8))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != size[::-1]:
        image = image.resize(size[::-1], Image.Resampling.BILINEAR)  # with antialiasing
    pixels = np.array(image)  # (height, width) or (height, width, 3)
    return torch.from_numpy(pixels.reshape(*size, channels)).permute(2, 0, 1).contiguous()


def read_images(
    files: Sequence[Path], *, shape: tuple[int, ...] | None = None,
    size: tuple[int, int] | None = None,
) -> Tensor | ImageFiles:  # fmt: skip
    """Images of one shape: decoded, or left in their files where they are too large to hold.

    Arguments:
        files: Image files.
        shape: (channels, height, width); by default 1 channel if every image is grey, and ``size``.
        size: (height, width); by default the most common one.

    Raises:
        UserError: if a file is no image.
    """
    looks = [_look(path) for path in files]  # headers only
    if shape is None:
        size = size or Counter(look[0] for look in looks).most_common(1)[0][0]
        shape = (1 if all(grey for _, grey in looks) else 3, *size)
    images = ImageFiles(tuple(files), shape[0], (shape[1], shape[2]))
    held = int(np.prod(images.shape)) <= HELD_BYTES
    return images[torch.arange(len(images))] if held else images


def scan_classes(root: Path) -> tuple[list[Path], Samples]:
    """The files of a folder of images by class, with optional train, validation and test folders.

    Returns:
        The files, and their labels, rows (paths below the folder) and splits, without inputs.

    Raises:
        UserError: if there are no class folders, or one of them is empty.
    """
    tops = _folders(root)
    inside = {folder: SPLITS.get(folder.name.casefold()) for folder in tops}
    if not (tops and all(inside.values()) and "train" in inside.values()):
        inside = {root: None}
    files, labels, splits = [], [], []
    for folder, split in inside.items():
        loose = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES]
        if loose:
            raise UserError(f"image {min(loose)} stands in no class folder; "
                            "put the images of each class into a folder of its name")  # fmt: skip
        for kind in _folders(folder):
            found = _files(kind)
            if not found:
                raise UserError(f"class folder {kind} holds no images; add some or remove it")
            files += found
            labels += [kind.name] * len(found)
            splits += [split] * len(found)
    if not files:
        raise UserError(f"folder {root} holds no class folders with images; make one a class")
    rows = [path.relative_to(root).as_posix() for path in files]
    return files, Samples(None, labels, rows, None if None in splits else splits)


def scan_images(root: Path) -> list[Path]:
    """Every image below a folder, in order of its path.

    Raises:
        UserError: if there is none.
    """
    loose = [path for path in root.iterdir() if path.suffix.lower() in SUFFIXES]
    found = sorted(loose) + [path for folder in _folders(root) for path in _files(folder)]
    if not found:
        raise UserError(f"folder {root} holds no images; known kinds: {', '.join(SUFFIXES)}")
    return found


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))


def _files(folder: Path) -> list[Path]:
    """Every file below a folder that is not hidden: all of them must be images."""
    found = (p for p in folder.rglob("*") if p.is_file())
    clutter = ("thumbs.db", "desktop.ini")
    return sorted(
        p
        for p in found
        if p.name.casefold() not in clutter
        and not any(part.startswith((".", "__")) for part in p.relative_to(folder).parts)
    )


def _look(path: Path) -> tuple[tuple[int, int], bool]:
    """Height and width as the image is shown, and whether it is grey."""
    with _opened(path) as image:
        width, height = image.size
        if image.getexif().get(0x0112, 1) >= 5:  # orientation: turned by a quarter
            width, height = height, width
        grey = image.mode in _GREY
        if image.mode == "P":
            palette = np.array(image.getpalette() or []).reshape(-1, 3)
            grey = bool((palette == palette[:, :1]).all())
        return (height, width), grey


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            # large images, odd metadata: they are read all the same
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                yield image
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"image {path} is gone; it was there at the start") from None
    except Exception as error:  # every decoder has its own
        unknown = type(error).__name__ == "UnidentifiedImageError"
        told = "not an image" if unknown else " ".join(str(error).split())
        raise UserError(f"file {path} cannot be read as an image ({told}); "
                        "remove or replace it") from error  # fmt: skip


def _sixteen(image: Any) -> bool:
    """Whether every value fits into 16 bits."""
    values = np.asarray(image)
    return bool(values.min() >= 0 and values.max() <= 65535)


def fitted(inputs: Any, shape: tuple[int, ...], where: str) -> Tensor:
    """uint8 arrays (n, channels, h, w) resized and converted to ``shape``."""
    from PIL import Image

    if inputs.shape[1:] == shape:
        return torch.from_numpy(inputs.copy())
    pictures = (np.squeeze(image.transpose(1, 2, 0), 2) if len(image) == 1 else
                np.ascontiguousarray(image.transpose(1, 2, 0)) for image in inputs)  # fmt: skip
    return torch.stack(
        [to_pixels(Image.fromarray(p), shape[0], (shape[1], shape[2]), where) for p in pictures]
    )
