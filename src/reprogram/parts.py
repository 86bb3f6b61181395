"""Parts of a program as JSON and back: a public name and constructor arguments, nothing else."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from torch import nn

from reprogram import mappings, optim, sources, transformations
from reprogram.types import UserError, nearest

ROOMS = {"transformations": transformations, "mappings": mappings, "optimizers": optim}
# Promises, of which no part can be made.
BASES = {"Transformation", "Mapping", "Optimizer", "GradientStep"}

Part = TypeVar("Part", bound=nn.Module)


def known(room: str) -> dict[str, type]:
    """Public parts of a room, with those that other packages announce as entry points.

    Arguments:
        room: ``"transformations"``, ``"mappings"`` or ``"optimizers"``.

    Example:
        >>> sorted(known("mappings"))[:3]
        ['Bayesian', 'CellScores', 'Discriminant']
    """
    public = {name: getattr(ROOMS[room], name) for name in ROOMS[room].__all__ if name not in BASES}
    parts = {name: part for name, part in public.items() if _is_part(part)}
    for entry in entry_points(group=f"reprogram.{room}"):
        parts.setdefault(entry.name, entry.load())
    return parts


def _is_part(public: Any) -> bool:
    """Whether it is a class with a step or a forward, and no function or type beside those."""
    return inspect.isclass(public) and (hasattr(public, "step") or issubclass(public, nn.Module))


def describe(part: nn.Module) -> dict[str, Any]:
    """Name and constructor arguments, as JSON values; parts among the arguments likewise.

    A frozen source among them is described by its URI and fingerprint.

    Raises:
        UserError: for a source without a URI.

    Example:
        >>> describe(transformations.Compose([transformations.Resize(8)]))
        {'name': 'Compose', 'arguments': {'parts': [{'name': 'Resize', 'arguments': {'size': 8}}]}}
    """
    taken = inspect.signature(type(part)).parameters.values()
    named = [p.name for p in taken if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    kind = type(part).__name__
    arguments = {name: _plain(getattr(part, name), f"{kind}'s {name}") for name in named}
    return {"name": kind, "arguments": arguments}


def build(room: str, described: dict[str, Any]) -> Any:
    """The part that :func:`describe` described; names resolve against the public lists only.

    Raises:
        UserError: for an unknown name, arguments that do not fit, or a source that is another one.
    """
    parts = known(room)
    name, arguments = described.get("name"), described.get("arguments")
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise UserError(f"the program's {room} are not described by a name and arguments")
    if name not in parts:
        raise nearest(room.removesuffix("s"), name, parts)
    values = {key: _built(room, value, f"{name}'s {key}") for key, value in arguments.items()}
    try:
        return parts[name](**values)
    except TypeError as error:
        raise UserError(f"{name} does not take the program's arguments: {error}") from None


def make(room: str, written: str, **offered: Any) -> Any:
    """The part that is written down, given those of the offered arguments that it takes besides.

    Arguments:
        room: As for :func:`known`.
        written: A public name, or one with arguments, as the part prints itself.
        offered: Arguments that need not be taken; what is written goes first.

    Raises:
        UserError: for an unknown name, an argument that is no plain value or that does not fit, or
            one that wants a function.

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
        if _is_function(part, key):
            raise UserError(f"argument {key!r} of {name} is a function, which cannot be written; "
                            f"leave it out, or make {name} in Python")  # fmt: skip
    try:
        return part(**{k: v for k, v in offered.items() if k in takes} | arguments)
    except TypeError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{name} does not take the arguments of {written!r}: {reason}") from None


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


def _is_function(part: Any, key: str) -> bool:
    """Whether an argument of a part is annotated as something to call."""
    hint = get_type_hints(part.__init__).get(key)
    return Callable in {get_origin(arm) for arm in (hint, *get_args(hint))}


def _plain(value: Any, place: str) -> Any:
    if isinstance(value, nn.ModuleList | list | tuple):
        return [_plain(v, place) for v in value]
    if isinstance(value, sources.Source):
        if value.uri is None:
            raise UserError(
                f"{place} is a source without a URI, under which a saved program would find it "
                "again; take one of sources.load, or give it a uri"
            )
        return {"source": value.uri, "fingerprint": value.fingerprint()}
    return describe(value) if isinstance(value, nn.Module) else value


def _built(room: str, value: Any, place: str) -> Any:
    if isinstance(value, list):
        return [_built(room, v, place) for v in value]
    if not isinstance(value, dict):
        return value
    return _loaded(value, place) if "source" in value else build(room, value)


def _loaded(described: dict[str, Any], place: str) -> sources.Source:
    """The source of that URI, which must be the one that was described."""
    uri, wanted = described["source"], described.get("fingerprint")
    if not isinstance(uri, str) or not isinstance(wanted, str):
        raise UserError(f"{place} is not described by a source's URI and fingerprint")
    source = sources.load(uri)
    if (found := source.fingerprint()) != wanted:
        raise UserError(
            f"{place}, {uri}, has the fingerprint {found[:12]}; the program was trained with "
            f"{wanted[:12]}: put the same weights back, or train again"
        )
    return source
