"""Frozen source models: what may enter, what comes out, and where they are found."""

from __future__ import annotations

import importlib

from reprogram.sources.base import Source, Stage, TorchSource
from reprogram.sources.callable import CallableSource
from reprogram.sources.ledger import BudgetSpent, Ledger
from reprogram.sources.metered import Metered, bare, metered
from reprogram.sources.restricted import Restricted, restricted
from reprogram.sources.scores import log_scores
from reprogram.types import UserError, nearest

__all__ = [
    "BudgetSpent", "CallableSource", "Ledger", "Metered", "Restricted", "Source", "Stage",
    "TorchSource", "bare", "load", "log_scores", "metered", "restricted",
]  # fmt: skip

# Scheme of a URI -> the module whose load(name) knows it; imported when it is used.
SCHEMES = {
    "zoo": "reprogram.sources.zoo",
    "hf": "reprogram.sources.hf",
    "timm": "reprogram.sources.timm",
    "onnx": "reprogram.sources.onnx",
    "http": "reprogram.sources.http",
    "https": "reprogram.sources.http",
}
OWN = ("access", "adapter", "exit")  # options of this function, whatever else the name may hold


def load(uri: str) -> Source:
    """The source a URI names, at the door behind ``#`` if there is one.

    Arguments:
        uri: ``zoo:NAME``, ``hf:ORG/MODEL[@REV]``, ``timm:NAME``, ``onnx:PATH`` or
            ``http(s)://...?adapter=FILE``, then ``#DOOR`` if wanted. ``?access=label`` (or
            ``topk:3``, ``probabilities``, ``logits``) makes a black box of it that tells no more;
            ``?exit=hidden`` leaves it in front of its stage of that name.

    Raises:
        UserError: for an unknown scheme, name, door or access.

    Example:
        >>> load("zoo:speech-commands#log-mel").input.shape
        (125, 80)
        >>> load("zoo:images?access=label").gradient
        False
    """
    base, _, door = uri.partition("#")
    base, own = split_options(base)
    scheme, separator, name = base.partition(":")
    if not separator:
        raise UserError(f"source {uri!r} is no URI; write SCHEME:NAME, such as zoo:{uri}")
    if scheme not in SCHEMES:
        raise nearest("source scheme", scheme, SCHEMES)
    remote = scheme in ("http", "https")
    if "adapter" in own and not remote:
        raise UserError(f"source {uri!r} takes no adapter; it is for http:// and https://")
    room = importlib.import_module(SCHEMES[scheme])
    source: Source = room.load(base, own.get("adapter")) if remote else room.load(name)
    source = source.exit(own["exit"]) if "exit" in own else source
    source = source.door(door) if door else source
    return restricted(source, own["access"]) if "access" in own else source


def split_options(base: str) -> tuple[str, dict[str, str]]:
    """A URI without the options of :func:`load`, and those; other options stay in it.

    Raises:
        UserError: if one stands twice.

    Example:
        >>> split_options("https://host/v1?model=a&adapter=api.json&access=label")
        ('https://host/v1?model=a', {'adapter': 'api.json', 'access': 'label'})
    """
    name, _, query = base.partition("?")
    own: dict[str, str] = {}
    others = []
    for part in query.split("&") if query else ():
        key, _, value = part.partition("=")
        if key not in OWN:
            others.append(part)
        elif key in own:
            raise UserError(f"source {base!r}: option {key!r} stands twice; give it once")
        else:
            own[key] = value
    return (f"{name}?{'&'.join(others)}" if others else name), own
