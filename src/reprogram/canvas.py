"""What stands behind a program in an image: a plain ground, a drawn one, or a picture."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from reprogram.types import InputSpec, UserError

PLAIN = ("grey", "uniform")
MARK = "data:image/png;base64,"


def written(base: str) -> str:
    """A ground as a saved program writes it down: a picture goes with it, no path does.

    Arguments:
        base: ``"grey"``, ``"uniform"``, an image file, or what this function returned.

    Raises:
        UserError: if the file is no image that can be read.

    Example:
        >>> written("grey")
        'grey'
    """
    if base in PLAIN or base.startswith(MARK):
        return base
    from PIL import Image

    buffer = io.BytesIO()
    try:
        with Image.open(base) as picture:
            picture.convert("RGB").save(buffer, "png")
    except OSError:
        raise UserError(f"argument 'base' is {base!r}, no image that can be read; give 'grey', "
                        "'uniform' or the path of an image") from None  # fmt: skip
    return MARK + base64.b64encode(buffer.getvalue()).decode()


def ground(spec: InputSpec, base: str, seed: int = 0) -> Float[Tensor, "channels H W"]:
    """One image for a door, in its natural units.

    Arguments:
        spec: Of the door: an image with finite bounds.
        base: ``"grey"`` is the middle of the bounds, ``"uniform"`` a draw between them, anything
            else a picture as :func:`written` writes it, resized to the door.
        seed: Of the draw.

    Raises:
        UserError: if the door takes no images, or its bounds are infinite.

    Example:
        >>> ground(InputSpec("image", (1, 1, 2), 0, 1), "grey")
        tensor([[[0.5000, 0.5000]]])
    """
    lower, upper = spec.lower, spec.upper
    if spec.kind != "image" or not (math.isfinite(lower) and math.isfinite(upper)):
        raise UserError(f"a ground of {base[:20]!r} is for images with finite bounds; this door "
                        f"takes {spec.kind!r} in [{lower}, {upper}]")  # fmt: skip
    if base == "grey":
        return torch.full(spec.shape, (lower + upper) / 2)
    if base == "uniform":
        share = torch.rand(spec.shape, generator=torch.Generator().manual_seed(seed))
    else:
        share = _picture(base, spec.shape)
    return lower + (upper - lower) * share


def _picture(base: str, shape: tuple[int, ...]) -> Tensor:
    """(channels, H, W) in [0, 1]."""
    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(base.removeprefix(MARK)))) as picture:
        picture = picture.convert("L" if shape[0] == 1 else "RGB")
        pixels = torch.from_numpy(np.array(picture)).float() / 255  # (h, w) or (h, w, 3)
    pixels = pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)
    return F.interpolate(pixels[None], shape[1:], mode="bilinear", antialias=True)[0].clamp(0, 1)
