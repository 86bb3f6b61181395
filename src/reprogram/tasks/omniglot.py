"""Omniglot: handwritten characters of many alphabets, a few images of each."""

from __future__ import annotations

import io
import re
import zipfile

import numpy as np

from reprogram.files import find_file
from reprogram.tasks.base import Task
from reprogram.tasks.build import Samples, make_task
from reprogram.tasks.published import reading
from reprogram.types import UserError, nearest

FILES = {
    "omniglot/images_background_small1.zip":
        "f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4",
    "omniglot/images_background_small2.zip":
        "3ccaa407515a8778e5d0861875af38b17e418f301ad5bb3b5a6b65d901a41c7f",
}  # fmt: skip
URL = (
    "https://raw.githubusercontent.com/brendenlake/omniglot/"
    "057f034baf2ecb8530bc5710e5a23584d2a519cc/python/"
)
DRAWERS = 20  # images of each character


def load_omniglot(
    *, ways: int = 20, shots: int = 5, alphabet: str | None = None, seed: int = 0
) -> Task:
    """Few-shot classification of handwritten characters, 105x105 pixels, ink 0 on paper 1.

    ``ways`` characters are drawn from the two small background sets (ten folders of eight
    alphabets), and ``shots`` images of each to train on; its other images, of 20, are the test. No
    validation is cut: choices are made by folds of train, and by nothing at all with one shot.

    Arguments:
        ways: How many characters, 2 or more.
        shots: Training images of each, 1 to 19.
        alphabet: Of this alphabet only, such as ``"Greek"``; of all by default.
        seed: Of characters and images.

    References:
        Lake, Salakhutdinov & Tenenbaum, Human-level Concept Learning through Probabilistic Program
        Induction, 2015.

    Raises:
        UserError: if a number is out of its range, there is no such alphabet, or a file is not here
            and cannot be downloaded.
    """
    if not 1 <= shots < DRAWERS:
        raise UserError(f"argument 'shots' is {shots}; each character has {DRAWERS} images: pass "
                        f"1 to {DRAWERS - 1}, the rest is the test")  # fmt: skip
    characters = _characters()
    alphabets = sorted({name.split("/")[0] for name in characters})
    if alphabet is not None and alphabet not in alphabets:
        raise nearest("alphabet", alphabet, alphabets)
    names = [n for n in sorted(characters) if alphabet in (None, n.split("/")[0])]
    if not 2 <= ways <= len(names):
        where = f"alphabet {alphabet!r} has" if alphabet else "the alphabets have"
        raise UserError(f"argument 'ways' is {ways}; {where} {len(names)} characters: pass 2 to "
                        f"{len(names)}")  # fmt: skip
    generator = np.random.default_rng(seed)
    train: list[tuple[bytes, str, str]] = []
    test: list[tuple[bytes, str, str]] = []
    for name in sorted(generator.choice(names, ways, replace=False).tolist()):
        images = sorted(characters[name].items())
        order = generator.permutation(len(images))
        for part, chosen in ((train, order[:shots]), (test, order[shots:])):
            part += [(images[i][1], name, f"omniglot:{name}/{images[i][0]}") for i in chosen]
    return make_task(
        "omniglot", "image", _decoded(train), test=_decoded(test), seed=seed, validation_share=0
    )


def _characters() -> dict[str, dict[str, bytes]]:
    """``Alphabet/character01`` -> file name -> PNG bytes, of both archives."""
    found: dict[str, dict[str, bytes]] = {}
    for file, sha256 in FILES.items():
        path = find_file(file, url=URL + file.rpartition("/")[2], sha256=sha256)
        with reading(path, "a zip"), zipfile.ZipFile(path) as archive:
            for entry in archive.namelist():
                if match := re.fullmatch(r"[^/]+/([^/]+/character\d+)/([^/]+\.png)", entry):
                    found.setdefault(match[1], {})[match[2]] = archive.read(entry)
    return found


def _decoded(images: list[tuple[bytes, str, str]]) -> Samples:
    from PIL import Image

    raw, labels, rows = zip(*images, strict=True)
    pixels = [np.asarray(Image.open(io.BytesIO(data)).convert("L")) for data in raw]
    return Samples(np.stack(pixels)[:, None], labels, rows)
