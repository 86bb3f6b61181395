"""scikit-learn's handwritten digits."""

from __future__ import annotations

import numpy as np

from reprogram.tasks.base import Task
from reprogram.tasks.build import make_task


def load_digits(*, seed: int = 0) -> Task:
    """1,797 handwritten digits of 8x8 pixels in [0, 1], bundled with scikit-learn.

    Split 60/20/20, stratified and seeded.

    References:
        Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI 1998.

    Example:
        >>> task = load_digits()
        >>> task.spec.input.shape, [len(s) for s in (task.train, task.validation, task.test)]
        ((1, 8, 8), [1078, 360, 359])
    """
    from sklearn import datasets

    pixels, labels = datasets.load_digits(return_X_y=True)
    pixels = np.asarray(pixels, np.float32).reshape(-1, 1, 8, 8) / 16  # 17 levels
    rows = tuple(f"digits[{i}]" for i in range(len(pixels)))
    return make_task("digits", "image", (pixels, labels, rows), seed=seed, validation_share=0.25)
