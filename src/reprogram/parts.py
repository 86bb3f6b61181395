"""Parts of a program as JSON and back: a public name and constructor arguments, nothing else."""

from __future__ import annotations

import ast
import inspect
from importlib.metadata import entry_points
from typing import Any, TypeVar

from torch import nn

from reprogram import mappings, transformations
from reprogram.types import UserError, nearest

ROOMS = {"transformations": transformations, "mappings": mappings}
BASES = {"Transformation", "Mapping"}  # promises, of which no part can be made

Part = TypeVar("Part", bound=nn.Module)


def known(room: str) -> dict[str, type[nn.Module]]:
    """Public parts of a room, with those that other packages announce as entry points.

    Example:
        >>> sorted(known("mappings"))[:3]
        ['Bayesian', 'Discriminant', 'Fixed']
    """
    module = ROOMS[room]
    parts = {name: getattr(module, name) for name in module.__all__ if name not in BASES}
    for entry in entry_points(group=f"reprogram.{room}"):
        parts.setdefault(entry.name, entry.load())
    return parts


def describe(part: nn.Module) -> dict[str, Any]:
    """Name and constructor arguments, as JSON values; parts among the arguments likewise.

    Example:
        >>> describe(transformations.Compose([transformations.Resize(8)]))
        {'name': 'Compose', 'arguments': {'parts': [{'name': 'Resize', 'arguments': {'size': 8}}]}}
    """
    taken = inspect.signature(type(part)).parameters.values()
    named = [p.name for p in taken if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    arguments = {name: _plain(getattr(part, name)) for name in named}
    return {"name": type(part).__name__, "arguments": arguments}


def build(room: str, described: dict[str, Any]) -> Any:
    """The part that :func:`describe` described; names resolve against the public lists only.

    Raises:
        UserError: for an unknown name or arguments that do not fit.
    """
    parts = known(room)
    name, arguments = described.get("name"), described.get("arguments")
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise UserError(f"the program's {room} are not described by a name and arguments")
    if name not in parts:
        raise nearest(room.removesuffix("s"), name, parts)
    values = {key: _built(room, value) for key, value in arguments.items()}
    try:
        return parts[name](**values)
    except TypeError as error:
        raise UserError(f"{name} does not take the program's arguments: {error}") from None


def make(room: str, written: str, **offered: Any) -> Any:
    """The part that is written down, given those of the offered arguments that it takes besides.

    Arguments:
        room: ``"mappings"`` or ``"transformations"``.
        written: A public name, or one with arguments, as the part prints itself.
        offered: Arguments that need not be taken; what is written goes first.

    Raises:
        UserError: for an unknown name, an argument that is no plain value or that does not fit.

    Example:
        >>> make("mappings", "ManyToOne", seed=3, size=2).seed
        3
        >>> make("mappings", "Fixed(labels='random')", seed=3).labels
        'random'
    """
    name, arguments = _call(room, written)
    parts = known(room)
    if name not in parts:
        raise nearest(room.removesuffix("s"), name, parts)
    part = parts[name]
    takes = inspect.signature(part).parameters
    for key in arguments:
        if key not in takes:
            raise nearest(f"argument of {name}", key, takes)
    return part(**{k: v for k, v in offered.items() if k in takes} | arguments)


def _call(room: str, written: str) -> tuple[str, dict[str, Any]]:
    """``Name(key=value)`` as a name and plain values; nothing is run."""
    name, paren, rest = written.partition("(")
    if not paren:
        return written, {}
    try:
        tree = ast.parse(f"part({rest.strip()}", mode="eval").body
        assert isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and not tree.args
        assert all(k.arg for k in tree.keywords)  # no **
        return name.strip(), {str(k.arg): ast.literal_eval(k.value) for k in tree.keywords}
    except (SyntaxError, AssertionError, ValueError):
        kind = room.removesuffix("s")
        raise UserError(f"{kind} {written!r} cannot be read; write a name, or a name with plain "
                        "arguments, such as Name(size=2)") from None  # fmt: skip


def _plain(value: Any) -> Any:
    if isinstance(value, nn.ModuleList | list | tuple):
        return [_plain(v) for v in value]
    return describe(value) if isinstance(value, nn.Module) else value


def _built(room: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_built(room, v) for v in value]
    return build(room, value) if isinstance(value, dict) else value
