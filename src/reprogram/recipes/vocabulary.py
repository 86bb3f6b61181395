"""Texts, sequences and molecules in the vocabulary of a language model."""

from __future__ import annotations

from typing import Unpack

import torch

from reprogram import parts
from reprogram.recipes.base import Shared, assemble, recipe
from reprogram.sources import Source
from reprogram.tasks.base import Task
from reprogram.texts import decode
from reprogram.train import Training
from reprogram.transformations import Compose, GumbelRows, Places
from reprogram.transformations.tokens.base import SymbolReader, room
from reprogram.transformations.tokens.units import learned


@recipe(epochs=30, batch_size=32, learning_rate=0.3, mapping_lr=0.01, mapping="Linear")
def vocab_remap(
    source: Source,
    task: Task,
    *,
    units: str | None = None,
    length: int | None = None,
    least: int = 1,
    context: int = 5,
    rank: int | None = None,
    hottest: float = 2.0,
    coldest: float = 0.01,
    annealed: float = 0.5,
    straight_through: bool = False,
    **shared: Unpack[Shared],
) -> Training:
    """The target's tokens rewritten as tokens of the source, by what stands around them.

    Where a gradient passes, the source reads mixtures of its embeddings under Gumbel noise that
    cools down; where none does, tokens are drawn, and ``ScoreFunction(samples=4)`` finds them from
    the answers. In the end there is one token of the source for each of the target.

    The paper reads target class ``c`` off source class ``c`` (``mapping="Fixed"``). Few text
    classifiers have as many classes as names have nations, so that the default is ``Linear``.

    References:
        | Adversarial Reprogramming of Text Classification Neural Networks (Neekhara, Hussain,
          Dubnov, Koushanfar, 2019). https://arxiv.org/abs/1809.01829

    Arguments:
        source: With a door ``embeddings``, or one ``tokens`` where no gradient passes.
        task: Of texts.
        units: What a text is read by: ``characters``, ``words``, ``1-mers`` to ``6-mers``,
            ``smiles`` or ``selfies``; ``None`` for words, 3-mers or SMILES tokens by notation.
        length: Tokens of a sample; ``None`` for the longest of training, as far as the source goes.
        least: Times that training must meet a token; rarer ones are unknown.
        context: Tokens that a choice depends on, odd.
        rank: Of the scores' table, for a vocabulary where it would be too large; ``None`` for full.
        hottest: Temperature of the mixtures at the start.
        coldest: Temperature at the end.
        annealed: Share of the run after which it is reached.
        straight_through: Whether training reads single tokens too.
    """
    source = source.door("embeddings" if source.gradient else "tokens")
    if shared["optimizer"] is None and not source.gradient:
        shared["optimizer"] = "ScoreFunction(samples=4)"
    rows = GumbelRows(
        context=context, rank=rank, hottest=hottest, coldest=coldest, annealed=annealed,
        straight_through=straight_through, seed=shared["seed"],
    )  # fmt: skip
    reader = read(source, task, units=units, length=length, least=least)
    return assemble(source, Compose([reader, rows]), **shared)


@recipe(epochs=30, batch_size=32, learning_rate=0.01, mapping_lr=0.05, mapping="Linear")
def r2dl(
    source: Source,
    task: Task,
    *,
    units: str | None = None,
    length: int | None = None,
    least: int = 1,
    atoms: int = 32,
    rows: str = "SparseRows",
    places: bool = True,
    **shared: Unpack[Shared],
) -> Training:
    """Each token of the target is a sparse combination of the source's embeddings.

    The atoms are chosen by orthogonal matching pursuit among the frozen embeddings. Other ways to
    make the same table are ``rows="FreeRows"``, ``"DenseRows"``, ``"LowRankRows(rank=16)"``,
    ``"PrototypeRows(prototypes=64)"`` and ``"GumbelRows(context=1)"``; free rows want a lower rate
    (0.003). The paper's program is ``places=False``.

    References:
        | Reprogramming Language Models for Molecular Representation Learning (Vinod, Chen, Das,
          2020). https://arxiv.org/abs/2012.03460
        | Reprogramming Pretrained Language Models for Protein Sequence Representation Learning
          (Vinod, Chen, Das, 2023). https://arxiv.org/abs/2301.02120

    Arguments:
        source: With a door ``embeddings``: a text classifier or a sentence encoder.
        task: Of texts, sequences or molecules.
        units: What a text is read by: ``characters``, ``words``, ``1-mers`` to ``6-mers``,
            ``smiles`` or ``selfies``; ``None`` for words, 3-mers or SMILES tokens by notation.
        length: Tokens of a sample; ``None`` for the longest of training, as far as the source goes.
        least: Times that training must meet a token; rarer ones are unknown.
        atoms: Embeddings of the source that a token is made of, where ``rows`` takes ``atoms``.
        rows: A public transformation of tokens, with arguments if wanted.
        places: Whether each place has a trained pattern of its own, too.
    """
    source = source.door("embeddings")
    table = parts.make("transformations", rows, atoms=atoms, seed=shared["seed"])
    reader = read(source, task, units=units, length=length, least=least)
    behind = [Places()] if places else []
    return assemble(source, Compose([reader, table, *behind]), **shared)


def read(
    source: Source, task: Task, *, units: str | None, length: int | None, least: int,
    most: int | None = None,
) -> SymbolReader:  # fmt: skip
    """The part that reads a task's texts, as much of each as the source (or ``most``) takes."""
    texts = decode(task.train.batch(torch.arange(len(task.train)))[0])
    notation, most = task.spec.input.notation, room(source) if most is None else most
    return learned(units, texts, notation=notation, least=least, length=length, most=most)
