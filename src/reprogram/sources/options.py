"""Options behind the ``?`` of a URI, by what a loader takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from reprogram.types import UserError, nearest


def counts(uri: str, query: str, loader: Callable[..., Any]) -> dict[str, int]:
    """``steps=64`` as keyword arguments of a loader: whole numbers from 1.

    Arguments:
        uri: What is loaded, for the messages.
        query: What stands behind the ``?``.
        loader: Its keyword-only parameters are the options that there are.

    Raises:
        UserError: if there is no such option, it stands twice, or is no number from 1.

    Example:
        >>> def loader(*, steps=20): ...
        >>> counts("zoo:lizard-ca", "steps=64", loader)
        {'steps': 64}
    """
    taken = inspect.signature(loader).parameters.values()
    known = [parameter.name for parameter in taken if parameter.kind == parameter.KEYWORD_ONLY]
    found: dict[str, int] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if not known:
            raise UserError(f"source {uri} takes no options; remove '?{query}'")
        if key not in known:
            raise nearest(f"option of source {uri}", key, known)
        if key in found:
            raise UserError(f"source {uri}: option {key!r} stands twice; give it once")
        found[key] = int(value) if value.isdecimal() else 0
        if found[key] < 1:
            raise UserError(
                f"source {uri}: option {key!r} is {value!r}; give a whole number, 1 or more"
            )
    return found
