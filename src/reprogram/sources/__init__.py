"""Frozen source models: what may enter, what comes out, and where they are found."""

from __future__ import annotations

import importlib

from reprogram.sources.base import CallableSource, Source, Stage, TorchSource, log_scores
from reprogram.types import UserError, nearest

__all__ = ["CallableSource", "Source", "Stage", "TorchSource", "load", "log_scores"]

# Scheme of a URI -> the module whose load(name) knows it; imported when it is used.
SCHEMES = {
    "zoo": "reprogram.sources.zoo",
    "hf": "reprogram.sources.hf",
    "timm": "reprogram.sources.timm",
}


def load(uri: str) -> Source:
    """The source a URI names, at the door behind ``#`` if there is one.

    Arguments:
        uri: ``zoo:NAME``, ``hf:ORG/MODEL[@REV]`` or ``timm:NAME``, then ``#DOOR`` if wanted.

    Raises:
        UserError: for an unknown scheme, name or door.

    Example:
        >>> load("zoo:speech-commands#log-mel").input.shape
        (125, 80)
    """
    base, _, door = uri.partition("#")
    scheme, separator, name = base.partition(":")
    if not separator:
        raise UserError(f"source {uri!r} is no URI; write SCHEME:NAME, such as zoo:{uri}")
    if scheme not in SCHEMES:
        raise nearest("source scheme", scheme, SCHEMES)
    source: Source = importlib.import_module(SCHEMES[scheme]).load(name)
    return source.door(door) if door else source
