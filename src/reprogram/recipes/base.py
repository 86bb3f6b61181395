"""What every recipe shares: it composes, and it remembers with what."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from reprogram.train import Training

Recipe = Callable[..., Training]


def recipe(function: Recipe) -> Recipe:
    """Let a recipe remember its name and every parameter, those left at their defaults too.

    Example:
        >>> from reprogram.recipes import v2s
        >>> v2s.__name__
        'v2s'
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def composed(*args: Any, **kwargs: Any) -> Training:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        training = function(*bound.args, **bound.kwargs)
        training.recipe = function.__name__.replace("_", "-")
        left_out = ("source", "task", "optimizer", "device")
        training.parameters = {k: v for k, v in bound.arguments.items() if k not in left_out}
        return training

    return composed
