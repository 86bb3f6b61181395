"""The published automata, their adversaries and their matrices.

All are by Randazzo, Mordvintsev, Niklasson, Levin and Greydanus, Apache-2.0. Every layer is a
kernel and a bias, from the first to the last, and a kernel's inputs come in the order of ours.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reprogram.files import find_file
from reprogram.sources.automata.cells import Cell
from reprogram.sources.automata.digit import DigitCell
from reprogram.sources.automata.growing import GrowingCell
from reprogram.sources.automata.source import AutomatonSource, automaton_source
from reprogram.sources.weights import fill
from reprogram.types import UserError, nearest

ASSETS = (
    "https://raw.githubusercontent.com/google-research/self-organising-systems/"
    "3d5547ca48b60ecac459834e2c05c9ff5df87991/adversarial_reprogramming_ca/assets"
)
ARCHIVES = {
    "growing_ca_adversarial_models.zip":
        "2720ae5ec0ae85813474fd9f5dae0b1f712beaf44fd2191401653f12ba7b99a8",
    "growing_ca_saved_perturbations.zip":
        "b0f4b8f9bd6455dcdb305770a14899ec52aaf9faa78b418ca4a7e587931c4225",
    "mnist_ca_adversarial_model.zip":
        "9280c179d9b4d65449a1f803988127722a3537f47c6843717b095ac36fe3461e",
}  # fmt: skip
"""Published archive -> sha256."""


class Extracted(NamedTuple):
    """A source whose arrays were taken out of a published script, kernels and biases in turns.

    Arguments:
        path: Below the folder of raw files.
        sha256: Checksum.
        origin: The published script.
        cell: The rule.
        steps: Of a run, where nothing else is said.
        shape: Height and width of the usual grid.
        names: Of the classes that a cell may say.
    """

    path: str
    sha256: str
    origin: str
    cell: type[Cell]
    steps: int
    shape: tuple[int, int]
    names: tuple[str, ...] = ()


SOURCES = {
    "selforg-mnist-ca": Extracted(
        "nca/sources/mnist_ca.npz",
        "01b19e72fda9d3905ecbf4f8567b0cfaad5d0fdd4ccd359a47d55f21fc832e42",
        "public/model.json of github.com/distillpub/post--selforg-mnist",
        DigitCell, 20, (28, 28), tuple("0123456789"),
    ),
    "lizard-ca": Extracted(
        "nca/sources/lizard_growing_ca.npz",
        "d0ba2212e1ba4c2b408f009a576d0bdc645331f011cc3da46759ff0b84b750e4",
        "public/gca_data.js of github.com/distillpub/post--selforg-adversarial",
        GrowingCell, 96, (72, 72),
    ),
}  # fmt: skip
"""By name behind ``zoo:``."""


class Bundle(NamedTuple):
    """Weights of an adversary in a published archive: float32, one tensor behind the other.

    Arguments:
        archive: One of :data:`ARCHIVES`.
        member: The file in it.
        cell: The rule.
    """

    archive: str
    member: str
    cell: type[Cell]


_growing = partial(Bundle, "growing_ca_adversarial_models.zip", cell=GrowingCell)
ADVERSARIES = {
    "eight": Bundle("mnist_ca_adversarial_model.zip", "saved_model.data-00000-of-00001", DigitCell),
    "no_tail": _growing(member="no_tail_model.data-00000-of-00001"),
    "red": _growing(member="red_model.data-00000-of-00001"),
    "red_60": _growing(member="red_model_60perc.data-00000-of-00001"),
}
"""What the cells are led to -> the adversary; trained as 10 % of the cells, ``red_60`` as 60 %."""
MATRICES = ("head", "tail", "leg", "arm", "red", "blue")
"""What a matrix takes away from the lizard, or its colour."""


def published_automaton(name: str, *, steps: int | None = None) -> AutomatonSource:
    """A published source, frozen: ``zoo:selforg-mnist-ca`` or ``zoo:lizard-ca``.

    Arguments:
        name: One of :data:`SOURCES`.
        steps: Of a run, >= 1; by default as many as in its training at most.

    References:
        | Adversarial reprogramming of neural cellular automata (Randazzo, Mordvintsev, Niklasson,
          Levin, 2021), Distill, doi:10.23915/distill.00027.004

    Raises:
        UserError: if the file of its weights is not here or has changed, or ``steps`` is below 1.
    """
    found = SOURCES[name]
    try:
        path = find_file(found.path, sha256=found.sha256)
    except UserError as error:
        raise UserError(f"{error} (its arrays are those of {found.origin})") from None
    cell = found.cell()
    with np.load(path, allow_pickle=False) as arrays:
        fill(cell, _state(cell, list(arrays.values())))
    return automaton_source(
        cell, steps=found.steps if steps is None else steps, shape=found.shape,
        uri=f"zoo:{name}" if steps is None else f"zoo:{name}?steps={steps}", names=found.names,
    )  # fmt: skip


def published_adversary(name: str) -> dict[str, Tensor]:
    """The weights of a published adversary, for a cell of its source's kind.

    Arguments:
        name: One of :data:`ADVERSARIES`.

    Raises:
        UserError: if the name is unknown, or a download is needed and impossible.
    """
    if name not in ADVERSARIES:
        raise nearest("published adversary", name, ADVERSARIES)
    bundle = ADVERSARIES[name]
    with torch.random.fork_rng(devices=[]):  # first weights drawn and overwritten: leave no trace
        cell = bundle.cell()
    ends = np.cumsum([p.numel() for p in cell.parameters()])
    content = _member(bundle.archive, bundle.member)[: 4 * ends[-1]]  # then it describes itself
    return _state(cell, np.split(np.frombuffer(content, "<f4"), ends[:-1]))


def published_matrix(name: str) -> Tensor:
    """A published symmetric matrix (16, 16) on the lizard's state.

    Arguments:
        name: One of :data:`MATRICES`.

    Raises:
        UserError: if the name is unknown, or a download is needed and impossible.
    """
    if name not in MATRICES:
        raise nearest("published matrix", name, MATRICES)
    file = io.BytesIO(_member("growing_ca_saved_perturbations.zip", f"{name}_sym_t.npy"))
    return torch.from_numpy(np.load(file, allow_pickle=False))


def _member(archive: str, name: str) -> bytes:
    """A file of a published archive."""
    path = find_file(f"nca/{archive}", url=f"{ASSETS}/{archive}", sha256=ARCHIVES[archive])
    with zipfile.ZipFile(path) as file:
        return file.read(name)


def _state(cell: Cell, arrays: Sequence[np.ndarray]) -> dict[str, Tensor]:
    """Kernels (..., inputs, outputs) and biases in turns, as the cell's state dict."""
    names = [name for name, _ in cell.named_parameters()]  # weight, bias, weight, bias, ...
    state = {}
    for name, own, array in zip(names, cell.parameters(), arrays, strict=True):
        value = torch.from_numpy(array.copy())  # what is read may not be written
        state[name] = value.reshape(own.T.shape).T.contiguous() if own.ndim == 2 else value
    return state
