"""Source models by name: ``zoo:NAME``. Some ship with the library, one is a public download."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import as_file, files
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from reprogram.files import find_file
from reprogram.sources.attention_rnn import AttentionRNN, attention_rnn_source
from reprogram.sources.base import Source
from reprogram.sources.residual import ResidualNetwork, residual_source
from reprogram.sources.weights import convert_attention_rnn, fill, read_keras
from reprogram.types import nearest

PUBLIC_RNN = (
    "https://raw.githubusercontent.com/douglas125/SpeechCmdRecognition/"
    "e965a72a8d1dedf490d4eba1996b2f3bb74eacdf/model-attRNN.h5"
)
PUBLIC_RNN_SHA256 = "c73134a09bbc72d169a7d8e875297e72142c3d11f2dc0d95570303c67bdca4d0"
PUBLIC_RNN_CLASSES = (
    "unknown", "nine", "yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go",
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "backward", "bed",
    "bird", "cat", "dog", "follow", "forward", "happy", "house", "learn", "marvin", "sheila",
    "tree", "visual", "wow",
)  # fmt: skip


def load(name: str) -> Source:
    """The source ``zoo:NAME``, frozen.

    Arguments:
        name: One of :data:`SOURCES`.

    Raises:
        UserError: if the name is unknown, or a download is needed and impossible.

    Example:
        >>> source = load("speech-commands")
        >>> source.input.shape, source.door("log-mel").input.shape
        ((16000,), (125, 80))
    """
    if name not in SOURCES:
        raise nearest("zoo source", name, SOURCES)
    loader, _ = SOURCES[name]
    with torch.random.fork_rng(devices=[]):  # initial values drawn and overwritten: leave no trace
        return loader()


def _speech_commands() -> Source:
    settings, state = _embedded("speech-commands")
    names = settings["classes"]
    network = fill(AttentionRNN(classes=len(names)), state)
    return attention_rnn_source(network, names, uri="zoo:speech-commands")


def _public_speech_commands() -> Source:
    path = find_file("speech/model-attRNN.h5", url=PUBLIC_RNN, sha256=PUBLIC_RNN_SHA256)
    network = convert_attention_rnn(read_keras(path))
    return attention_rnn_source(network, PUBLIC_RNN_CLASSES, uri="zoo:speech-commands-35")


def _images() -> Source:
    settings, state = _embedded("images")
    names = settings["classes"]
    network = fill(ResidualNetwork(depth=settings["depth"], classes=len(names)), state)
    return residual_source(
        network, names, mean=settings["mean"], std=settings["std"], uri="zoo:images"
    )


def _embedded(name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Settings and weights of a model that ships with the library, in full precision."""
    folder = files("reprogram") / "zoo"
    settings = json.loads((folder / f"{name}.json").read_text())
    with as_file(folder / f"{name}.safetensors") as path:
        state = load_file(path)
    return settings, {key: value.float() for key, value in state.items()}


SOURCES: dict[str, tuple[Callable[[], Source], str]] = {
    "images": (
        _images,
        "32 x 32 colour images, 10 classes: residual network of 20 layers (embedded)",
    ),
    "speech-commands": (
        _speech_commands,
        "16 kHz speech, 12 classes: attention RNN (embedded)",
    ),
    "speech-commands-35": (
        _public_speech_commands,
        "16 kHz speech, 36 classes: the public attention RNN (download, 3 MB)",
    ),
}
"""Name -> (loader, one line for ``reprogram list sources``)."""
