"""One token of the source for each token of the target and its neighbours."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor, nn

from reprogram.lexicon import Lexicon
from reprogram.transformations.base import Transformation, require_kinds
from reprogram.transformations.vocabulary.base import Vocabulary, bracketed, gather, trimmed
from reprogram.transformations.vocabulary.combinations import check_count
from reprogram.types import SourceLike, TaskSpec, Tokens, UserError

SPECIAL = ("pad", "mask", "start", "end", "unknown")
START = 0.01  # deviation of the scores at the start


class GumbelRows(Vocabulary):
    """The source reads its own tokens: for each place one, chosen by the target's tokens around it.

    With ``h_i = b + sum_j theta_j[t_{i+j}]``, a score for each token of the source, the program
    takes ``s_i = argmax_v h_i[v]``. At the door ``embeddings`` it is trained on mixtures
    ``e_i = softmax((h_i + g_i) / tau) E`` with Gumbel noise ``g``, whose temperature falls linearly
    over a share of the run. At the door ``tokens`` no gradient passes: :meth:`sample` draws tokens
    from ``softmax(h_i)`` for the optimiser ``ScoreFunction``. The source's marks (filling, mask,
    start, end, unknown) are never chosen.

    With a context of 1 the choice depends on the token alone, and is made once for each token of
    the target rather than at each place.

    References:
        | Adversarial Reprogramming of Text Classification Neural Networks (Neekhara, Hussain,
          Dubnov, Koushanfar, 2019). https://arxiv.org/abs/1809.01829
        | Categorical Reparameterization with Gumbel-Softmax (Jang, Gu, Poole, 2017).
          https://arxiv.org/abs/1611.01144

    Arguments:
        context: See :class:`Vocabulary`; the paper has 5.
        rank: Of ``theta_j = A_j B``, 1 or more; ``None`` for a ``theta`` of full size.
        hottest: Temperature at the start, above 0.
        coldest: Temperature at the end, above 0, no higher than ``hottest``.
        annealed: Share of the run after which it is the coldest, in (0, 1].
        straight_through: Whether training reads the likeliest token too, with the gradient of the
            mixture.
        seed: Of the scores at the start.

    Raises:
        UserError: for a number outside these ranges.

    Example:
        >>> GumbelRows(context=3, rank=16)
        GumbelRows(rank=16, context=3, seed=0)
    """

    tau: Tensor
    marks: Tensor

    def __init__(
        self, *, context: int = 5, rank: int | None = None, hottest: float = 2.0,
        coldest: float = 0.01, annealed: float = 0.5, straight_through: bool = False, seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(context=context, seed=seed)
        if rank is not None:
            check_count("rank", rank)
        if not 0 < coldest <= hottest < math.inf:
            raise UserError(f"arguments 'hottest' and 'coldest' are {hottest} and {coldest}; give "
                            "temperatures above 0, the coldest no higher")  # fmt: skip
        if not 0 < annealed <= 1:
            raise UserError(f"argument 'annealed' is {annealed}; give a share of the run, above 0 "
                            "and up to 1")  # fmt: skip
        self.rank, self.hottest, self.coldest = rank, hottest, coldest
        self.annealed, self.straight_through = annealed, straight_through

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Learn the sizes, and create the scores.

        Raises:
            UserError: if the task is not of tokens, or the source entered neither at its tokens
                nor at embeddings that it tells.
        """
        self.writes_ids = source.input.kind == "tokens"
        if not self.writes_ids:
            super().bind(source, task)
            return
        require_kinds(self, source, "tokens", task, "tokens")
        lexicon = source.lexicon
        if lexicon is None:  # it is told which tokens there are, and nothing more
            lexicon = Lexicon(None, torch.zeros(int(source.input.upper) + 1, 0))
        self._around(lexicon, task)
        self.create(torch.Generator().manual_seed(self.seed))

    def create(self, generator: torch.Generator) -> None:
        """Draw the scores, near equal."""
        atoms, tokenizer = len(self.dictionary), self._lexicon[0].tokenizer
        shape = self.context, self.tokens

        def drawn(*shape: int, deviation: float) -> nn.Parameter:
            return nn.Parameter(deviation * torch.randn(shape, generator=generator))

        if self.rank is None:
            self.theta = drawn(*shape, atoms, deviation=START)
        else:
            self.a = drawn(*shape, self.rank, deviation=1.0)
            self.b = drawn(self.rank, atoms, deviation=START / math.sqrt(self.rank))
        self.bias = nn.Parameter(torch.zeros(atoms))
        found = (getattr(tokenizer, name, None) for name in SPECIAL)
        marks = sorted({index for index in found if index is not None})
        self.register_buffer("marks", torch.tensor(marks, dtype=torch.long), persistent=False)
        self.register_buffer("tau", torch.tensor(self.hottest))
        self.filling = getattr(tokenizer, "pad", 0)

    def of_source(self, index: int) -> Tensor:
        """The id of a token of the source, or its embedding."""
        return torch.tensor(index) if self.writes_ids else super().of_source(index)

    def scores(
        self, ids: Int[Tensor, "batch length"], standing: Bool[Tensor, "batch length"]
    ) -> Float[Tensor, "places atoms"]:
        """h_i of all places where a token stands."""
        if self.rank is None:
            h = gather(self.theta, ids, standing) + self.bias
        else:
            h = gather(self.a, ids, standing) @ self.b + self.bias
        return h.index_fill(-1, self.marks, -math.inf)

    def table(self) -> Float[Tensor, "context tokens width"]:
        """T, of a context of 1: what stands for each token now."""
        each = torch.arange(1, self.tokens + 1, device=self.bias.device)[:, None]
        return self.chosen(self.scores(each, each > 0))[None]

    def chosen(self, h: Float[Tensor, "n atoms"]) -> Float[Tensor, "n width"]:
        """Embeddings of the likeliest tokens; in training of mixtures under noise."""
        if not self.training:
            return self.dictionary[h.argmax(-1)]
        noise = -torch.empty_like(h).exponential_().log()  # g ~ Gumbel(0, 1)
        p = ((h + noise) / self.tau).softmax(-1)
        mixture = p @ self.dictionary
        if self.straight_through:
            return mixture + (self.dictionary[p.argmax(-1)] - mixture).detach()
        return mixture

    def written(
        self, ids: Int[Tensor, "batch length"], standing: Bool[Tensor, "batch length"]
    ) -> Float[Tensor, "places width"]:
        """e_i of all places where a token stands."""
        if self.context == 1:
            return super().written(ids, standing)
        return self.chosen(self.scores(ids, standing))

    def forward(self, prepared: Num[Tensor, "batch length"]) -> Tokens:
        """Embeddings (batch, places, width) up to the longest text, or ids (batch, places).

        Raises:
            UserError: for a gradient at the door ``tokens``.
        """
        if not self.writes_ids:
            return super().forward(prepared)
        if self.training and torch.is_grad_enabled():
            raise UserError("GumbelRows takes the likeliest tokens at this door, and no gradient "
                            "passes through that choice; use the optimizer ScoreFunction, or the "
                            "door 'embeddings'")  # fmt: skip
        ids = prepared.long()
        standing = ids != 0
        return self._laid_out(self.scores(ids, standing).argmax(-1)[None], standing).map(_first)

    def sample(self, prepared: Num[Tensor, "batch length"], n: int) -> tuple[Tokens, Tensor]:
        """Texts of the source drawn token by token, from torch's global generator.

        Returns:
            Tokens with leading (n, batch), ids or embeddings as the door takes, and the
            log-probabilities (n, batch) of having drawn them, with a graph to the scores.
        """
        ids = prepared.long() if self.writes_ids else trimmed(prepared.long())
        standing = ids != 0
        log_p = self.scores(ids, standing).log_softmax(-1)  # (places, atoms)
        drawn = torch.multinomial(log_p.detach().exp(), n, replacement=True)  # (places, n)
        places = log_p.new_zeros((n, *ids.shape))
        places[:, standing] = log_p.gather(1, drawn).T
        return self._laid_out(drawn.T, standing), places.sum(-1)

    def _laid_out(
        self, drawn: Int[Tensor, "n places"], standing: Bool[Tensor, "batch length"]
    ) -> Tokens:
        """Ids of the source at their places, start and end around them; (n, batch, ...) each."""
        told = drawn if self.writes_ids else self.dictionary[drawn]  # (n, places, ...)
        filling = self.filling if self.writes_ids else 0.0
        values = torch.full(
            (len(drawn), *standing.shape, *told.shape[2:]), filling,
            dtype=told.dtype, device=told.device,
        )  # fmt: skip
        values[:, standing] = told
        each = standing.expand(len(drawn), *standing.shape).flatten(0, 1)
        tokens = bracketed(values.flatten(0, 1), each, self.before, self.behind, filling)
        return tokens.map(lambda part: part.unflatten(0, (len(drawn), len(standing))))

    def advance(self, step: int, steps: int) -> None:
        """Cool down."""
        spent = min((step + 1) / (self.annealed * steps), 1.0)
        self.tau.fill_(self.hottest - (self.hottest - self.coldest) * spent)

    def folded(self) -> Transformation:
        """The embeddings of the likeliest tokens, of a context of 1; with more it stays itself."""
        return self if self.writes_ids or self.context > 1 else super().folded()

    def extra_repr(self) -> str:
        return f"rank={self.rank}, {super().extra_repr()}"


def _first(part: Tensor) -> Tensor:
    return part[0]
