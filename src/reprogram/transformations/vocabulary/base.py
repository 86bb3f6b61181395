"""What every vocabulary layer shares: a table, folded once a step and gathered."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor, nn
from torch.nn import functional as F

from reprogram.lexicon import Lexicon
from reprogram.transformations.base import Transformation, require_kinds
from reprogram.transformations.image import check_choice
from reprogram.types import InputSpec, SourceLike, TaskSpec, Tokens, UserError

Start = Literal["normal", "copies"]


class Vocabulary(Transformation):
    """Token ids (batch, length) -> embeddings of the source, ``e_i = sum_j T_j[t_{i+j}]``.

    ``T`` (context, tokens, width) holds a row for each token of the target and each offset ``j``
    from ``-(context // 2)``; what a subclass writes is how it is made (:meth:`table`). It is made
    once a step, and once for all where nothing is trained. Nothing comes from outside the text, or
    from id 0, where no token stands: the table begins with id 1. The source's own embeddings of
    start and end, where it has them, stand around the text, never trained.

    Arguments:
        context: Tokens that an embedding depends on, odd.
        seed: Of the parameters at the start.

    Raises:
        UserError: if the context is no odd number.
    """

    before: Tensor | None
    behind: Tensor | None

    def __init__(self, *, context: int = 1, seed: int = 0) -> None:
        super().__init__()
        if context < 1 or context % 2 == 0:
            raise UserError(f"argument 'context' is {context}; give an odd number of tokens, 1 or "
                            "more")  # fmt: skip
        self.context, self.seed = context, seed

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Learn the sizes, and create the parameters.

        Raises:
            UserError: if the task is not of tokens, or the source not entered at its embeddings or
                does not tell them.
        """
        require_kinds(self, source, "embeddings", task, "tokens")
        lexicon, name = source.lexicon, type(self).__name__
        width = source.input.shape[-1]
        if lexicon is None or lexicon.embeddings.shape[1] != width:
            raise UserError(f"{name} is made of the source's own embeddings, and source "
                            f"{source.uri or 'given'} does not tell them; take a language source "
                            "whose weights can be seen")  # fmt: skip
        self._around(lexicon, task)
        self.create(torch.Generator().manual_seed(self.seed))

    def create(self, generator: torch.Generator) -> None:
        """Create the parameters, drawn by this generator."""
        raise NotImplementedError

    def table(self) -> Float[Tensor, "context tokens width"]:
        """T: the embedding that each token gives to the place at each offset."""
        raise NotImplementedError

    def of_source(self, index: int) -> Tensor:
        """What is written for a token of the source."""
        return self.dictionary[index]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the table."""
        return self.context, self.tokens, self.dictionary.shape[1]

    @property
    def dictionary(self) -> Float[Tensor, "atoms width"]:
        """E: the source's own embeddings, wherever the source is."""
        return self._lexicon[0].embeddings

    def forward(self, prepared: Num[Tensor, "batch length"]) -> Tokens:
        """Embeddings (batch, places, width) up to the longest text of the batch."""
        ids = trimmed(prepared.long())
        standing = ids != 0
        embeddings = self.written(ids, standing)
        values = embeddings.new_zeros((*ids.shape, embeddings.shape[-1]))
        values[standing] = embeddings
        return bracketed(values, standing, self.before, self.behind)

    def written(
        self, ids: Int[Tensor, "batch length"], standing: Bool[Tensor, "batch length"]
    ) -> Float[Tensor, "places width"]:
        """e_i of all places where a token stands, text after text."""
        return gather(self._table(), ids, standing)

    def after(self, task: TaskSpec) -> TaskSpec:
        """The task in the source's embeddings, start and end among them."""
        around = sum(part is not None for part in (self.before, self.behind))
        shape = task.input.shape[0] + around, self.shape[2]
        return replace(task, input=InputSpec("embeddings", shape))

    @torch.no_grad()
    def folded(self) -> Transformation:
        """The same embeddings as :class:`FreeRows`, bound already."""
        training = self.training
        table = self.eval().table()
        self.train(training)
        free = FreeRows(context=self.context, seed=self.seed)
        free.tokens, free._lexicon = self.tokens, self._lexicon
        free._kept = None
        free.register_buffer("before", self.before, persistent=False)
        free.register_buffer("behind", self.behind, persistent=False)
        free.rows = nn.Parameter(table.clone())
        return free.train(training)

    def _around(self, lexicon: Lexicon, task: TaskSpec) -> None:
        """Remember the dictionary, and what stands around a text."""
        # In a tuple it is no module of this one: the source owns it, moves it and is copied by it.
        self._lexicon = (lexicon,)
        self.tokens = int(task.input.upper)  # without id 0
        self._kept: tuple[list[tuple[Tensor, int, int]], Tensor] | None = None
        for name, token in (("before", "start"), ("behind", "end")):
            index = getattr(lexicon.tokenizer, token, None)
            around = None if index is None else self.of_source(index)
            self.register_buffer(name, around, persistent=False)

    def _table(self) -> Float[Tensor, "context tokens width"]:
        """The table; the one made last, while nothing has changed and nothing is trained."""
        if self.training or torch.is_grad_enabled():
            return self.table()
        state = [(t, t._version, t.data_ptr()) for t in [*self.parameters(), *self.buffers()]]
        if self._kept is None or not _same(self._kept[0], state):
            self._kept = state, self.table()
        return self._kept[1]

    def extra_repr(self) -> str:
        return f"context={self.context}, seed={self.seed}"


class FreeRows(Vocabulary):
    """Every row of the table is trained by itself.

    Arguments:
        context: See :class:`Vocabulary`.
        start: Rows of the place itself at the start: ``"normal"``, with the mean and deviation that
            the source's embeddings have in each dimension, or ``"copies"`` of random tokens of the
            source, each at most once where there are enough. Rows of other places start at zero.
        seed: Of the draw.

    Raises:
        UserError: for another word.

    Example:
        >>> FreeRows(context=3)
        FreeRows(context=3, start='normal', seed=0)
    """

    def __init__(self, *, context: int = 1, start: Start = "normal", seed: int = 0) -> None:
        super().__init__(context=context, seed=seed)
        check_choice("start", start, tuple(STARTS))
        self.start: Start = start

    def create(self, generator: torch.Generator) -> None:
        """Draw the rows."""
        rows = torch.zeros(self.shape)
        rows[self.context // 2] = STARTS[self.start](self.dictionary, self.tokens, generator)
        self.rows = nn.Parameter(rows)

    def table(self) -> Float[Tensor, "context tokens width"]:
        """T."""
        return self.rows

    def extra_repr(self) -> str:
        return f"context={self.context}, start={self.start!r}, seed={self.seed}"


def normal(atoms: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """(count, width) rows as the atoms are spread in each dimension."""
    drawn = torch.randn(count, atoms.shape[1], generator=generator)
    return atoms.mean(0).cpu() + atoms.std(0).cpu() * drawn


def copies(atoms: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """(count, width) atoms drawn at random, each as seldom as possible."""
    order = torch.randperm(len(atoms), generator=generator)
    return atoms[order.repeat(-(-count // len(atoms)))[:count].to(atoms.device)].cpu()


STARTS = {"normal": normal, "copies": copies}


def gather(
    table: Float[Tensor, "context tokens width"],
    ids: Int[Tensor, "batch length"],
    standing: Bool[Tensor, "batch length"],
) -> Float[Tensor, "places width"]:
    """``sum_j T_j[t_{i+j}]`` at the places ``i`` that stand, text after text: a gather and a sum.

    Arguments:
        table: Of ids from 1.
        ids: 0 where no token stands.
        standing: The places wanted.
    """
    context, tokens, _ = table.shape
    half = context // 2
    windows = F.pad(ids, (half, half)).unfold(1, context, 1)[standing]  # (places, context)
    blank = F.pad(table, (0, 0, 1, 0)).flatten(0, 1)  # a row of zeros for id 0
    offsets = (tokens + 1) * torch.arange(context, device=ids.device)
    return F.embedding_bag(windows + offsets, blank, mode="sum")


def trimmed(ids: Int[Tensor, "batch length"]) -> Int[Tensor, "batch longest"]:
    """Ids up to the last place where any text has a token; one place at least."""
    places = (ids != 0).any(0).nonzero()
    return ids[:, : int(places[-1]) + 1 if len(places) else 1]


def bracketed(
    values: Num[Tensor, "batch length *width"],
    standing: Bool[Tensor, "batch length"],
    start: Num[Tensor, "*width"] | None,
    end: Num[Tensor, "*width"] | None,
    filling: float = 0.0,
) -> Tokens:
    """Values with ``start`` before the first and ``end`` right behind the last that stands."""
    mask = standing.long()
    if start is not None:
        values = torch.cat([start.expand(len(values), 1, *start.shape), values], 1)
        mask = F.pad(mask, (1, 0), value=1)
    if end is not None:
        last, each = mask.sum(1), torch.arange(len(mask), device=mask.device)
        values = torch.cat([values, torch.full_like(values[:, :1], filling)], 1)
        mask = F.pad(mask, (0, 1))
        values[each, last], mask[each, last] = end, 1
    return Tokens(values, mask)


def _same(kept: list[tuple[Tensor, int, int]], state: list[tuple[Tensor, int, int]]) -> bool:
    return len(kept) == len(state) and all(
        a[0] is b[0] and a[1:] == b[1:] for a, b in zip(kept, state, strict=True)
    )
