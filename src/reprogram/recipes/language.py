"""Texts and sequences on frozen models that were made for others, or for images."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, Unpack

from reprogram import optim, parts
from reprogram.recipes.base import Shared, assemble, recipe
from reprogram.recipes.vocabulary import read
from reprogram.sources import Source
from reprogram.tasks.base import Task
from reprogram.train import Training
from reprogram.transformations import Compose, Patches, Prompts
from reprogram.transformations.patches import capacity


@recipe(batch_size=8, learning_rate=0.001, mapping="Verbalizer")
def warp(
    source: Source,
    task: Task,
    *,
    prompts: int | list[int | str] = 20,
    start: Literal["mask", "normal"] | list[str] = "mask",
    keep_best: bool = True,
    **shared: Unpack[Shared],
) -> Training:
    """Trainable tokens around and inside a text, read at a mask by one trained row for each class.

    The source is entered at its embeddings and left before its layer of words, which then costs
    nothing. The paper's WARP_init is ``start`` with words beside
    ``mapping="Verbalizer(words=['no', 'yes'])"``; its few-shot runs choose nothing
    (``keep_best=False``). The learning rate rises for 6 % of the run and falls from there on.

    References:
        | WARP: Word-level Adversarial ReProgramming (Hambardzumyan, Khachatrian, May, 2021).
          https://arxiv.org/abs/2101.00121

    Arguments:
        source: A masked language model; a sentence encoder serves too, with a layout without mask.
        task: Of texts, or pairs of them.
        prompts: Trainable tokens: how many, spread around and between the sentences and the mask,
            or the layout, such as ``[5, "first", "mask", 5]``. 0 is the paper's WARP_0.
        start: What they start as: the embedding of the mask, a draw, or words.
        keep_best: Whether validation chooses the epoch; else the last is kept.
    """
    del task
    source = hidden(source.door("embeddings"))
    part = Prompts(prompts, start=start, seed=shared["seed"])
    training = assemble(source, part, scheduler=optim.slanted, **shared)
    return replace(training, keep_best=keep_best)


@recipe(epochs=20, learning_rate=0.02, mapping="Ranked")
def cross_modal(
    source: Source,
    task: Task,
    *,
    units: str | None = None,
    length: int | None = None,
    least: int = 1,
    size: int | None = None,
    strength: float = 1.0,
    base: str = "grey",
    places: bool = True,
    start: float = 0.01,
    **shared: Unpack[Shared],
) -> Training:
    """A text as an image: each token a trained patch, read by an image classifier.

    The paper's program is ``places=False`` and ``start=1``; its unbounded variant has strength 1
    over grey, its bounded one ``strength=0.2`` over a base image. In place of its regulariser, the
    norm of all images of a batch at once, there is ``weight_decay``. A source with fewer classes
    than the task wants ``mapping="Linear"``.

    References:
        | Cross-modal Adversarial Reprogramming (Neekhara, Hussain, Du, Dubnov, Koushanfar,
          McAuley, 2022, WACV). https://arxiv.org/abs/2102.07325

    Arguments:
        source: An image classifier.
        task: Of texts, sequences or molecules.
        units: What a text is read by: ``characters``, ``words``, ``1-mers`` to ``6-mers``,
            ``smiles`` or ``selfies``; ``None`` for words, 3-mers or SMILES tokens by notation.
        length: Tokens of a sample; ``None`` for the longest of training, as far as the image goes.
        least: Times that training must meet a token; rarer ones are unknown.
        size: Side of a patch in pixels; ``None`` for the largest with which every token finds a
            place.
        strength: Largest change of a pixel, as a share of half the source's range.
        base: What the patches are laid on: ``grey``, ``uniform`` (a seeded draw) or an image file.
        places: Whether each place has a trained pattern of its own, too.
        start: Standard deviation of the patches at first, before ``tanh``.
    """
    source = source.door("image")
    most = capacity(source.input.shape, size or 1)
    reader = read(source, task, units=units, length=length, least=least, most=most)
    patches = Patches(
        size=size, strength=strength, base=base, places=places, start=start, seed=shared["seed"]
    )
    return assemble(source, Compose([reader, patches]), **shared)


@recipe(batch_size=32, learning_rate=0.001, mapping="TokenLinear")
def reprogbert(
    source: Source,
    task: Task,
    *,
    rows: str = "DenseRows",
    **shared: Unpack[Shared],
) -> Training:
    """Sequences filled in by a language model of another language.

    A target token is a combination of all the source's embeddings, and the target's scores are
    combinations of the source's; both maps are linear, and folded to a table of the target's
    tokens.

    References:
        | Reprogramming Pretrained Language Models for Antibody Sequence Infilling (Melnyk,
          Chenthamarakshan, Chen, Das, Dhurandhar, Padhi, Das, 2023).
          https://arxiv.org/abs/2210.07144

    Arguments:
        source: A masked language model.
        task: That asks for the token at each place, such as ``infill:splice?start=25&stop=35``.
        rows: A public transformation of tokens, with arguments if wanted.
    """
    source = hidden(source.door("embeddings"))
    table = parts.make("transformations", rows, seed=shared["seed"])
    reader = read(source, task, units="characters", length=None, least=1)  # a token each place
    return assemble(source, Compose([reader, table]), **shared)


def hidden(source: Source) -> Source:
    """A language model left at its hidden states; what returns an embedding stays as it is."""
    return source if source.output.kind == "embedding" else source.exit("hidden")
