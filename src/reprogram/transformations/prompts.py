"""Trainable tokens around and inside a text, with a mask to be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from reprogram import texts
from reprogram.lexicon import Lexicon, Tokenizer
from reprogram.transformations.base import Transformation, require_kinds
from reprogram.transformations.image import check_choice
from reprogram.types import SourceLike, TaskSpec, Tokens, UserError

Start = Literal["mask", "normal"]
WORDS = ("first", "second", "mask")
FILLING = -1


class Prompts(Transformation):
    """A text in the source's own tokens among K trainable ones, and a mask to be read.

    Only the prompts are trained: K times the source's width numbers. The source's start and end
    stand around everything, untouched. Which place holds what is computed once a sample, as an
    index: a code below the size of the vocabulary is a token, and those above it are the prompts
    and the mask, so that nothing a text may say is taken for one of them. A text that is too long
    loses the end of its longer sentence, never a prompt or the mask.

    Valid at the door ``embeddings`` of a source with its tokenizer; the answer is read at the mask
    (``position``) by a source that is left at ``hidden``, and where the source reads it by itself
    if the layout has no mask.

    References:
        | WARP: Word-level Adversarial ReProgramming (Hambardzumyan, Khachatrian, May, 2021).
          https://arxiv.org/abs/2101.00121

    Arguments:
        layout: Numbers of prompts among ``"first"``, ``"mask"`` and ``"second"``, the sentences of
            a pair; a text that is no pair is a pair without a second. A lone number K is spread
            over the four gaps of the paper's ``[K/4, "first", K/4, "mask", K/4, "second", K/4]``,
            the first gaps taking what is left over; 0 leaves the mask alone (its WARP_0).
        start: First values: the embedding of the source's ``"mask"``, a draw of the mean and
            deviation of its table (``"normal"``), or K words (``""`` for the filling), each of
            which may be several tokens long and is then their mean.
        seed: Of that draw.

    Raises:
        UserError: for another word, a negative number, or a word twice.

    Example:
        >>> Prompts(20)
        Prompts([5, 'first', 5, 'mask', 5, 'second', 5], start='mask')
        >>> Prompts([2, "first", "mask"], start=["It", "says"]).count
        2
    """

    table: Float[Tensor, "tokens width"]
    prompts: Float[Tensor, "prompts width"]

    def __init__(
        self,
        layout: int | Sequence[int | str] = 20,
        *,
        start: Start | Sequence[str] = "mask",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.layout = spread(layout) if isinstance(layout, int) else list(layout)
        check_layout(self.layout)
        if isinstance(start, str):
            check_choice("start", start, ("mask", "normal"))
        elif len(start) != self.count:
            raise UserError(f"argument 'start' has {len(start)} words for {self.count} prompts; "
                            "give one each")  # fmt: skip
        self.start: Start | list[str] = (
            list(start) if not isinstance(start, str) else start  # pyright: ignore
        )
        self.seed = seed

    @property
    def count(self) -> int:
        """Number of prompts."""
        return sum(item for item in self.layout if isinstance(item, int))

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Take hold of the source's tokens, and make the prompts.

        Raises:
            UserError: if the task is not of texts, the door is another, the source has no tokenizer
                or no mask, or the layout leaves no place for a text.
        """
        require_kinds(self, source, "embeddings", task, "text")
        lexicon, self.tokenizer = tokenizer_of(source)
        self.register_buffer("table", lexicon.embeddings, persistent=False)
        if "mask" in self.layout and self.tokenizer.mask is None:
            raise UserError(f"source {source.uri or 'given'} has no mask token to be read at; give "
                            "a layout without 'mask'")  # fmt: skip
        brackets = [self.tokenizer.start is not None, self.tokenizer.end is not None]
        taken = self.count + self.layout.count("mask") + sum(brackets)
        self.longest, self.room = source.input.shape[0], source.input.shape[0] - taken
        if self.room < 1:
            raise UserError(f"{self.count} prompts with mask, start and end take {taken} places of "
                            f"the source's {self.longest}; give fewer prompts")  # fmt: skip
        values = self._first_values(lexicon)
        if self.count:
            self.prompts = nn.Parameter(values)
        else:  # nothing to train in front of the source
            self.register_buffer("prompts", values, persistent=False)

    def prepare(self, x: Float[Tensor, "batch characters"]) -> Int[Tensor, "batch longest"]:
        """Code points to what stands where: tokens, prompts, the mask, filling."""
        rows = torch.full((len(x), self.longest), FILLING, dtype=torch.int32)
        for row, (first, second) in zip(rows, self._sentences(x), strict=True):
            codes = self._laid_out(*shortened(first, second, self.room))
            row[: len(codes)] = torch.tensor(codes, dtype=torch.int32)
        return rows.to(x.device)

    def tally(self, x: Float[Tensor, "batch characters"]) -> dict[str, int]:
        """Tokens of the texts, unknown ones among them, and texts that were too long."""
        sentences = self._sentences(x)
        ids = [i for pair in sentences for sentence in pair for i in sentence]
        return {
            "tokens": len(ids),
            "unknown": ids.count(self.tokenizer.unknown),
            "cut": sum(len(first) + len(second) > self.room for first, second in sentences),
        }

    def forward(self, prepared: Int[Tensor, "batch longest"]) -> Tokens:
        """Embeddings (batch, length, width), as long as the longest of the batch."""
        length = int((prepared != FILLING).sum(1).max()) if len(prepared) else 1
        codes = prepared[:, :length].long()
        prompt = codes - len(self.table)
        own, mask = (prompt >= 0) & (prompt < self.count), prompt == self.count
        ids = codes.masked_fill(own | (codes == FILLING), self.tokenizer.pad)
        ids = ids.masked_fill(mask, self.tokenizer.mask or 0)
        values = F.embedding(ids, self.table)
        values = values.index_put((own,), self.prompts[prompt[own]])
        position = mask.long().argmax(1) if "mask" in self.layout else None
        return Tokens(values, (codes != FILLING).long(), position)

    def extra_repr(self) -> str:
        return f"{self.layout}, start={self.start!r}"

    def _sentences(self, x: Tensor) -> list[tuple[list[int], list[int]]]:
        """Ids of the two sentences of each sample."""
        pairs = [text.partition(texts.PAIR) for text in texts.decode(x)]
        firsts = self.tokenizer.encode([first for first, _, _ in pairs])
        seconds = self.tokenizer.encode([second for _, _, second in pairs])
        return list(zip(firsts, seconds, strict=True))

    def _laid_out(self, first: list[int], second: list[int]) -> list[int]:
        """Codes of one sample between start and end."""
        size, used = len(self.table), 0
        sentences = {"first": first, "second": second, "mask": [size + self.count]}
        codes = [] if self.tokenizer.start is None else [self.tokenizer.start]
        for item in self.layout:
            if isinstance(item, str):
                codes += sentences[item]
            else:
                codes += range(size + used, size + used + item)
                used += item
        return codes if self.tokenizer.end is None else [*codes, self.tokenizer.end]

    def _first_values(self, lexicon: Lexicon) -> Tensor:
        """(prompts, width)."""
        table = lexicon.embeddings
        if self.start == "normal":
            generator = torch.Generator().manual_seed(self.seed)
            draw = torch.randn(self.count, table.shape[1], generator=generator).to(table)
            return table.mean(0) + table.std(0) * draw
        if self.start == "mask":
            if self.tokenizer.mask is None and self.count:
                raise UserError("argument 'start' is 'mask', and the source has no such token; "
                                "give 'normal' or words")  # fmt: skip
            return table[self.tokenizer.mask or 0].expand(self.count, -1).clone()
        ids = [i or [self.tokenizer.pad] for i in self.tokenizer.encode(self.start)]
        return torch.stack([table[i].mean(0) for i in ids])


def tokenizer_of(source: SourceLike) -> tuple[Lexicon, Tokenizer]:
    """What the source knows of its tokens, and how it reads text.

    Raises:
        UserError: if it does not tell.
    """
    lexicon = source.lexicon
    if lexicon is None or lexicon.tokenizer is None:
        raise UserError(f"source {source.uri or 'given'} does not tell how it reads text; take one "
                        "with a tokenizer, such as an hf: language model")  # fmt: skip
    return lexicon, lexicon.tokenizer


def spread(count: int) -> list[int | str]:
    """The paper's layout for so many prompts: as many in every gap as may be.

    Raises:
        UserError: for less than none.

    Example:
        >>> spread(1)
        [1, 'first', 'mask', 'second']
    """
    if count < 0:
        raise UserError(f"argument 'layout' is {count}; give 0 prompts or more")
    gaps = [count // 4 + (gap < count % 4) for gap in range(4)]
    items = [gaps[0], "first", gaps[1], "mask", gaps[2], "second", gaps[3]]
    return [item for item in items if item != 0]


def check_layout(layout: Sequence[int | str]) -> None:
    """Numbers of prompts, and each word once at most, the first sentence exactly once.

    Raises:
        UserError: saying what is wrong.
    """
    for item in layout:
        if isinstance(item, int) and item < 0:
            raise UserError(f"argument 'layout' has {item} prompts; give 0 or more")
        if isinstance(item, str):
            check_choice("layout", item, WORDS)
    twice = [word for word in WORDS if list(layout).count(word) > 1]
    if twice or "first" not in layout:
        told = f"has {twice[0]!r} twice" if twice else "has no 'first'"
        raise UserError(f"argument 'layout' {told}; give 'first' once, 'mask' and 'second' at most")


def shortened(first: list[int], second: list[int], room: int) -> tuple[list[int], list[int]]:
    """Two sentences in so many places: tokens are taken from the end of the longer one.

    Example:
        >>> shortened([1, 2, 3, 4], [5, 6], 4)
        ([1, 2], [5, 6])
    """
    if len(first) + len(second) <= room:
        return first, second
    short = min(len(first), len(second), room // 2)
    if len(first) < len(second):
        return first[:short], second[: room - short]
    return first[: room - short], second[:short]
