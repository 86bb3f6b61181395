"""``--set name=value`` against a recipe's signature."""

from __future__ import annotations

import collections.abc
import inspect
import math
import types
from collections.abc import Callable, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from reprogram.types import UserError, nearest


def accepted(recipe: Callable[..., Any]) -> dict[str, Any]:
    """Parameters of a recipe that the command line can give, and the type of each.

    Example:
        >>> from reprogram.recipes import v2s
        >>> accepted(v2s)["epochs"]
        <class 'int'>
    """
    hints = get_type_hints(recipe)
    found = {}
    for name, parameter in inspect.signature(recipe).parameters.items():
        default = parameter.default
        if parameter.kind is parameter.KEYWORD_ONLY:
            found[name] = hints.get(name, str if default is None else type(default))
    return {name: hint for name, hint in found.items() if _wanted(hint) is not None}


def parse(settings: Sequence[str], recipe: Callable[..., Any], name: str) -> dict[str, Any]:
    """Values of the settings, as the recipe's signature wants them.

    Arguments:
        settings: ``name=value`` each.
        recipe: Whose parameters they are.
        name: The recipe's.

    Raises:
        UserError: for a setting without ``=``, an unknown or repeated name, or a value of another
            kind.

    Example:
        >>> from reprogram.recipes import v2s
        >>> parse(["epochs=20", "dropout=0.1"], v2s, "v2s")
        {'epochs': 20, 'dropout': 0.1}
    """
    known = accepted(recipe)
    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        key = key.strip().replace("-", "_")
        if not equals:
            raise UserError(f"--set {setting}: write name=value, such as --set epochs=20")
        check(key, known, name)
        if key in values:
            raise UserError(f"--set {setting}: {key!r} is given twice; give it once")
        try:
            values[key] = read(text.strip(), known[key])
        except ValueError:
            raise UserError(f"--set {setting}: {_wanted(known[key])} is wanted") from None
    return values


def check(key: str, known: collections.abc.Iterable[str], recipe: str) -> None:
    """Refuse a name that is no parameter.

    Raises:
        UserError: naming the nearest ones.
    """
    if key not in known:
        raise nearest(f"parameter of recipe {recipe}", key, known)


def read(text: str, hint: Any) -> Any:
    """The value that a text spells, of a type.

    Raises:
        ValueError: if it spells none.

    Example:
        >>> read("1,2", list[float]), read("none", int | None), read("7", str)
        ([1.0, 2.0], None, '7')
    """
    origin, arms = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        spelt = [arm for arm in arms if _wanted(arm) is not None]
        for arm in sorted(spelt, key=lambda arm: arm is str):  # a string spells anything
            try:
                return read(text, arm)
            except ValueError:
                continue
        raise ValueError
    if origin is Literal:
        return _one_of({str(arm): arm for arm in arms})(text)
    if hint in _SPELT:
        return _SPELT[hint](text)
    return [read(part.strip(), arms[0]) for part in text.strip("[]()").split(",")]


def _one_of(values: dict[str, Any]) -> Callable[[str], Any]:
    def spelt(text: str) -> Any:
        if text not in values:
            raise ValueError
        return values[text]

    return spelt


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    type(None): "none",
}
_SPELT: dict[Any, Callable[[str], Any]] = {
    int: int,
    float: _finite,
    bool: _one_of({"true": True, "false": False}),
    str: str,
    type(None): _one_of({"none": None}),
}


def _wanted(hint: Any) -> str | None:
    """What a type wants, in words; ``None`` for one that no text can spell."""
    origin, arms = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " or ".join(repr(arm) for arm in arms)
    if origin in (Union, types.UnionType):
        words = [_wanted(arm) for arm in arms]
        told = [word for word in words if word is not None]
        # None beside a type that cannot be spelt is no choice
        return " or ".join(told) if told and told != ["none"] else None
    if origin in (list, tuple, collections.abc.Sequence):
        inner = _wanted(arms[0]) if arms else None
        return inner and f"{inner.removeprefix('a ')}s separated by commas"
    return _WORDS.get(hint)
