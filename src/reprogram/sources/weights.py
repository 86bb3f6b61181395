"""Weights into networks: from Keras files, from files of torch, from the library's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from reprogram.sources.attention_rnn import AttentionRNN
from reprogram.types import UserError

Network = TypeVar("Network", bound=nn.Module)

# Each weight of ours that is one array of the file, and its group there.
_DENSE = {"query": "dense", "hidden": "dense_1", "bottleneck": "dense_2", "out": "output"}
_CONVOLUTIONS = {"conv1": "conv2d", "conv2": "conv2d_1"}
_NORMS = {"norm1": "batch_normalization", "norm2": "batch_normalization_1"}
_LSTMS = {
    "lstm1": ("bidirectional", "forward_lstm/lstm_cell_1", "backward_lstm/lstm_cell_2"),
    "lstm2": ("bidirectional_1", "forward_lstm_1/lstm_cell_4", "backward_lstm_1/lstm_cell_5"),
}


def read_keras(path: Path) -> dict[str, np.ndarray]:
    """Every array below ``model_weights`` of a Keras HDF5 file, by its path without ``:0``.

    Raises:
        UserError: if h5py is not installed or the file is not such a file.
    """
    try:
        import h5py
    except ModuleNotFoundError:
        raise UserError(
            "reading Keras weights needs h5py; pip install 'reprogram[audio]'"
        ) from None
    arrays: dict[str, np.ndarray] = {}
    try:
        with h5py.File(path, "r") as file:
            weights = cast("h5py.Group", file["model_weights"])
            weights.visititems(
                lambda name, item: (
                    arrays.update({name.removesuffix(":0"): np.asarray(item)})
                    if isinstance(item, h5py.Dataset)
                    else None
                )
            )
    except (OSError, KeyError):
        raise UserError(f"file {path} is not a Keras HDF5 file; delete it, and it is downloaded "
                        "again, or replace it with the published one") from None  # fmt: skip
    return arrays


def convert_attention_rnn(arrays: Mapping[str, np.ndarray]) -> AttentionRNN:
    """The attention RNN with weights from :func:`read_keras`.

    Keras keeps dense kernels as (in, out), convolutions as (height, width, in, out) and the gates
    of an LSTM in torch's own order, with one bias where torch has two.

    Arguments:
        arrays: Of ``model-attRNN.h5`` of douglas125/SpeechCmdRecognition (MIT licence).

    Raises:
        UserError: if an array is missing or of another shape.
    """
    state: dict[str, Tensor] = {}

    def take(name: str, group: str, array: str, axes: tuple[int, ...] = (0,)) -> None:
        key = f"{group}/{array}"
        if key not in arrays:
            raise UserError(f"array {key!r} is not in the Keras file; give model-attRNN.h5")
        state[name] = torch.from_numpy(arrays[key].transpose(axes).copy()).float()

    for ours, group in _DENSE.items():
        take(f"{ours}.weight", f"{group}/{group}", "kernel", (1, 0))
        take(f"{ours}.bias", f"{group}/{group}", "bias")
    for ours, group in _CONVOLUTIONS.items():
        take(f"{ours}.weight", f"{group}/{group}", "kernel", (3, 2, 0, 1))
        take(f"{ours}.bias", f"{group}/{group}", "bias")
    for ours, group in _NORMS.items():
        take(f"{ours}.weight", f"{group}/{group}", "gamma")
        take(f"{ours}.bias", f"{group}/{group}", "beta")
        take(f"{ours}.running_mean", f"{group}/{group}", "moving_mean")
        take(f"{ours}.running_var", f"{group}/{group}", "moving_variance")
    for ours, (group, forward, backward) in _LSTMS.items():
        for cell, suffix in ((forward, "l0"), (backward, "l0_reverse")):
            take(f"{ours}.weight_ih_{suffix}", f"{group}/{group}/{cell}", "kernel", (1, 0))
            take(
                f"{ours}.weight_hh_{suffix}", f"{group}/{group}/{cell}", "recurrent_kernel", (1, 0)
            )
            take(f"{ours}.bias_ih_{suffix}", f"{group}/{group}/{cell}", "bias")
    return fill(AttentionRNN(classes=len(state["out.bias"])), state)


def read_torch(path: Path) -> dict[str, Tensor]:
    """The tensors of a file that ``torch.save`` wrote, by name; nothing in it is executed.

    A training checkpoint's ``state_dict`` is taken out of it, and the ``module.`` in front of the
    names that a parallel wrapper left.

    Raises:
        UserError: if the file is damaged or holds anything but tensors by name.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = state.get("state_dict", state)
        tensors = {name.removeprefix("module."): value for name, value in state.items()}
    except Exception as error:  # a damaged archive fails in many ways
        raise UserError(f"file {path} holds no weights of torch ({type(error).__name__}); delete "
                        "it, and it is downloaded again") from error  # fmt: skip
    if not all(isinstance(value, Tensor) for value in tensors.values()):
        raise UserError(f"file {path} holds more than tensors by name; give a state_dict")
    return tensors


def shipped(name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Settings and weights of a model that ships with the library, in full precision."""
    folder = files("reprogram") / "zoo"
    settings = json.loads((folder / f"{name}.json").read_text())
    with as_file(folder / f"{name}.safetensors") as path:
        state = load_file(path)
    return settings, {key: value.float() for key, value in state.items()}


def fill(network: Network, state: Mapping[str, Tensor]) -> Network:
    """The network, now with these weights.

    Two things that tell nothing may be absent: the second bias of an LSTM, which stays zero, and
    the batch counter of a batch-norm.

    Raises:
        UserError: if a weight is missing, unknown or of another shape.
    """
    try:
        missing, unknown = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise UserError(f"weights do not fit: {str(error).splitlines()[-1].strip()}") from None
    missing = [m for m in missing if "bias_hh" not in m and "num_batches_tracked" not in m]
    if missing or unknown:
        raise UserError(f"weights do not fit: missing {missing}, unknown {unknown}")
    return network
