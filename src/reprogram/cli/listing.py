"""``reprogram list``."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

import typer

from reprogram.cli import options


class Room(StrEnum):
    """What can be listed."""

    sources = "sources"
    tasks = "tasks"
    recipes = "recipes"
    transformations = "transformations"
    mappings = "mappings"
    optimizers = "optimizers"


def show_list(
    room: Annotated[Room, typer.Argument(help="What to list.")],
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """List what there is by name, a line each, with those that other packages add."""
    del debug
    found = LISTS[room.value]()
    if as_json:
        print(json.dumps(found))
        return
    width = max(map(len, found)) + 2
    for name, description in found.items():
        print(f"{name:<{width}}{description}")


def _sources() -> dict[str, str]:
    from reprogram.sources import hf, http, onnx, timm, zoo

    found = {f"zoo:{name}": told for name, (_, told) in zoo.SOURCES.items()}
    others = {"hf:ORG/MODEL": hf, "timm:NAME": timm, "onnx:PATH": onnx, "https://...": http}
    return found | {name: first_line(module) for name, module in others.items()}


def _tasks() -> dict[str, str]:
    from reprogram.tasks import KINDS, TASKS

    return {name: told for name, (_, told) in TASKS.items()} | {"PATH": f"your own: {KINDS}"}


def _recipes() -> dict[str, str]:
    from reprogram import recipes

    return {name: first_line(recipe) for name, recipe in recipes.known().items()}


def _parts(room: str) -> dict[str, str]:
    from reprogram import parts

    return {name: first_line(part) for name, part in parts.known(room).items()}


def first_line(documented: Any) -> str:
    """The first sentence of a docstring."""
    return (inspect.getdoc(documented) or "").partition("\n")[0].rstrip(".").replace("``", "")


LISTS: dict[str, Callable[[], dict[str, str]]] = {
    "sources": _sources,
    "tasks": _tasks,
    "recipes": _recipes,
    "transformations": lambda: _parts("transformations"),
    "mappings": lambda: _parts("mappings"),
    "optimizers": lambda: _parts("optimizers"),
}
