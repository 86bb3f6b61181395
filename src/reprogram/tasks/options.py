"""Options that stand in a task's name: ``mnist?limit=5000&test=2000``."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable
from typing import Any

from reprogram.types import UserError

# of every task: at most so many rows of train, validation, test
GENERAL = ("limit", "validation", "test")


def split_name(task: str) -> tuple[str, dict[str, Any]]:
    """A task's name and the options behind its question mark; numbers are read as such.

    A path that is there is itself, whatever stands in it.

    Raises:
        UserError: if an option has no value, or stands twice.

    Example:
        >>> split_name("mnist?limit=5000&test=2000")
        ('mnist', {'limit': 5000, 'test': 2000})
        >>> split_name("data.csv?kind=table")
        ('data.csv', {'kind': 'table'})
        >>> split_name("digits")
        ('digits', {})
    """
    name, mark, query = task.rpartition("?")
    if not mark or os.path.exists(os.path.expanduser(task)):
        return task, {}
    options: dict[str, Any] = {}
    for part in query.split("&"):
        option, _, value = part.partition("=")
        if not option or not value:
            raise UserError(f"task {task!r}: {part!r} is no option; "
                            "write name?option=value&option=value")  # fmt: skip
        if option in options:
            raise UserError(f"task {task!r}: option {option!r} stands twice; give it once")
        options[option] = _number(value)
    return name, options


def _number(value: str) -> int | float | str:
    if re.fullmatch(r"[+-]?\d+", value):
        return int(value)
    return float(value) if re.fullmatch(r"[+-]?\d*\.\d+", value) else value


def joined(name: str, options: dict[str, Any]) -> str:
    """The inverse of :func:`split_name`.

    Example:
        >>> joined("photos", {"limit": 500, "size": (32, 48)})
        'photos?limit=500&size=32x48'
    """
    told = {
        option: "x".join(map(str, value)) if isinstance(value, tuple | list) else value
        for option, value in options.items()
        if value is not None
    }
    query = "&".join(f"{option}={value}" for option, value in told.items())
    return f"{name}?{query}" if query else name


def limited(task: str, **rows: int) -> str:
    """A task's name with so many rows, where it does not say how many itself.

    Example:
        >>> limited("mnist?limit=5000", limit=100, test=50)
        'mnist?limit=5000&test=50'
    """
    name, options = split_name(task)
    return joined(name, options | {key: n for key, n in rows.items() if key not in options})


def check_options(task: str, loader: Callable[..., Any], options: dict[str, Any]) -> None:
    """Refuse options that neither the loader nor every task takes, and texts for whole numbers.

    Raises:
        UserError: naming the option and those there are.
    """
    takes = {
        name: parameter.annotation in ("int", "int | None")
        for name, parameter in inspect.signature(loader).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    } | dict.fromkeys(GENERAL, True)
    for option, value in options.items():
        if option not in takes:
            raise UserError(f"task {task!r} takes no option {option!r}; "
                            f"it takes {', '.join(takes)}")  # fmt: skip
        if takes[option] and (not isinstance(value, int) or isinstance(value, bool)):
            raise UserError(f"task {task!r}: option {option!r} is {value!r}; pass a whole number")
