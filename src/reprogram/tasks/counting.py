"""Counting white squares: drawn, not read."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np

from reprogram.tasks.base import Task
from reprogram.tasks.build import Samples, make_task
from reprogram.types import UserError

GRID, CELL = 4, 9  # 4 x 4 places of 9 x 9 pixels: 36 x 36
CELLS = GRID * GRID
COUNTS = range(1, 11)


def load_counting(*, n: int = 12_000, seed: int = 0) -> Task:
    """Images of 1 to 10 white squares on black; the class is how many there are.

    After Elsayed et al.; what is drawn: 36x36 pixels, in which each square takes one of the 16
    places of a 4x4 grid. A place is 9x9 pixels, a white square of 7x7 with a black frame of one
    pixel, so that neighbours stay apart. One grey channel, values 0 and 1.

    Every class has as many images, drawn without repetition as long as there are different ones:
    one square makes 16 images, two make 120, three 560, which are then repeated. Equal images stand
    in one split, so that test holds arrangements never trained on. Split 64/16/20, stratified and
    seeded.

    Arguments:
        n: Images in all, the same number of each class; at least 160.
        seed: Of the arrangements and the cuts.

    References:
        Elsayed, Goodfellow & Sohl-Dickstein, Adversarial Reprogramming of Neural Networks, 2019
        (arXiv:1806.11146).

    Raises:
        UserError: if ``n`` is too small.

    Example:
        >>> task = load_counting(n=1000)
        >>> task.spec.input.shape, task.spec.classes
        ((1, 36, 36), ('1', '2', '3', '4', '5', '6', '7', '8', '9', '10'))
        >>> inputs, targets, _ = task.train.batch(task.train.targets[:5])
        >>> bool((inputs.sum((1, 2, 3)) == 49 * (targets + 1)).all())
        True
    """
    each = n // len(COUNTS)
    if each < CELLS:
        raise UserError(f"argument 'n' is {n}; the counting task needs {CELLS} images of each of "
                        f"{len(COUNTS)} classes: pass {CELLS * len(COUNTS)} or more")  # fmt: skip
    generator = np.random.default_rng(seed)
    places = np.concatenate([arrangements(count, each, generator) for count in COUNTS])
    labels = np.repeat(np.array(COUNTS), each)
    order = generator.permutation(len(labels))
    places, labels = places[order], labels[order]
    rows = [f"counting[{i}]" for i in range(len(labels))]
    task = make_task("counting", "image", Samples(draw(places), labels, rows), seed=seed)
    few = [count for count in COUNTS if math.comb(CELLS, count) < each]
    if not few:
        return task
    note = (f"data: images of {few[0]} to {few[-1]} squares repeat, for fewer than {each} differ; "
            "equal images stand in one split")  # fmt: skip
    return replace(task, notes=(note, *task.notes))


def arrangements(count: int, n: int, generator: np.random.Generator) -> np.ndarray:
    """(n, 16) bool: where ``count`` squares stand, all different while there are different ones."""
    every = np.array(list(itertools.combinations(range(CELLS), count)))  # (16 over count, count)
    rounds = [generator.permutation(len(every)) for _ in range(math.ceil(n / len(every)))]
    chosen = every[np.concatenate(rounds)[:n]]  # (n, count)
    places = np.zeros((n, CELLS), bool)
    np.put_along_axis(places, chosen, True, axis=1)
    return places


def draw(places: np.ndarray) -> np.ndarray:
    """(n, 16) bool -> (n, 1, 36, 36) uint8."""
    square = np.zeros((CELL, CELL), np.uint8)
    square[1:-1, 1:-1] = 255
    return np.kron(places.reshape(-1, GRID, GRID).astype(np.uint8), square)[:, None]
