"""A source that tells less than it knows: the levels of access, end to end."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from reprogram.lexicon import Lexicon
from reprogram.sources.base import Source, specs
from reprogram.sources.ledger import Ledger
from reprogram.sources.scores import log_scores
from reprogram.types import Batch, Scores, UserError, mapped

TOLD = 5  # classes that TOP_K tells, where nothing else is said


class Restricted(Source):
    """Another source behind a smaller window: no gradient, no features, fewer scores.

    Arguments:
        source: Of class scores, which tells at least as much; or one that can be given classes.
        scores: What is told.
        k: How many classes ``TOP_K`` tells; five, or as many as there are, if absent.

    Raises:
        UserError: if the source tells less already, or ``k`` is not between 1 and its classes.

    Example:
        >>> import torch
        >>> from reprogram.sources import CallableSource
        >>> from reprogram.types import InputSpec, OutputSpec
        >>> source = CallableSource(
        ...     lambda x: x, InputSpec("table", (3,)), OutputSpec("classes", (3,)))
        >>> Restricted(source, Scores.LABEL)(torch.tensor([[0.1, 0.3, 0.2]])).exp().round()
        tensor([[0., 1., 0.]])
    """

    gradient = False

    def __init__(self, source: Source, scores: Scores, *, k: int | None = None) -> None:
        super().__init__()
        name = source.uri or "given"
        if source.output.kind != "classes" and not source.vocabulary:
            raise UserError(f"source {name} returns {source.output.kind!r}; access is a matter of "
                            "class scores")  # fmt: skip
        if source.scores < scores:
            raise UserError(f"source {name} tells {source.scores.name}, which is less than "
                            f"{scores.name}; ask for that or less")  # fmt: skip
        classes = source.output.shape[0]
        if k is not None and not 1 <= k <= classes:
            raise UserError(f"access to the top {k} of {classes} source classes is not possible; "
                            f"give 1 to {classes}")  # fmt: skip
        self.source, self.scores, self.k = source, scores, k
        self.input, self.output, self.open = source.input, source.output, source.open
        self.vocabulary, self.random = source.vocabulary, source.random
        if source.lexicon is not None:  # how it reads is no secret, what it holds is
            size = len(source.lexicon.embeddings)
            self.lexicon = Lexicon(source.lexicon.tokenizer, torch.zeros(size, 0))

    @property
    def access(self) -> str:
        """As it is written in a URI."""
        suffix = "" if self.k is None else f":{self.k}"
        return f"{WORDS[self.scores]}{suffix}"

    @property
    def uri(self) -> str | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The source's, with the access among its options."""
        if self.source.uri is None:
            return None
        base, hash_, door = self.source.uri.partition("#")
        return f"{base}{'&' if '?' in base else '?'}access={self.access}{hash_}{door}"

    def told(self, output: Tensor) -> Tensor:
        """What is left of the source's log-scores (batch, classes)."""
        if self.output.kind != "classes":
            raise UserError(f"source {self.uri or 'given'} has no classes yet; give them by name: "
                            "with_classes(names)")  # fmt: skip
        classes = output.shape[1]
        if self.scores == Scores.LOGITS:
            return output
        if self.scores == Scores.LABEL:
            return log_scores(output.argmax(1), self.scores, classes)
        chances = output.softmax(1)
        if self.scores == Scores.PROBABILITIES:
            return log_scores(chances, self.scores, classes)
        top = chances.topk(self.k or min(TOLD, classes), 1)
        return log_scores((top.indices, top.values), self.scores, classes)

    def forward(self, x: Batch) -> Tensor:
        """(batch, *input.shape) -> (batch, classes)."""
        x = mapped(x, Tensor.detach)
        return self.told(self.source(x).detach())

    def ask(self, x: Batch, ledger: Ledger) -> Iterator[tuple[Tensor, Tensor]]:
        """The source's answers as they come, the rest of them withheld."""
        for rows, output in self.source.ask(x, ledger):
            yield rows, self.told(output.detach())

    def keys(self, x: Batch) -> list[bytes]:
        """The source's."""
        return self.source.keys(x)

    def door(self, name: str) -> Restricted:
        """The same access at another door."""
        return self._like(self.source.door(name))

    def exit(self, name: str) -> Restricted:
        """The same access at another exit."""
        return self._like(self.source.exit(name))

    def fingerprint(self) -> str:
        """Of the source and of what it may tell."""
        told = f"{self.source.fingerprint()}{specs(self)}{self.access}"
        return hashlib.sha256(told.encode()).hexdigest()

    def randomised(self, seed: int, batch: Batch | None = None) -> Restricted:
        """The source's random control under the same access."""
        return self._like(self.source.randomised(seed, batch))

    def with_classes(self, names: Sequence[str], templates: Sequence[str] = ()) -> Restricted:
        """The same access to the source with these classes."""
        given = (names, templates) if templates else (names,)
        return self._like(self.source.with_classes(*given))  # pyright: ignore

    def _like(self, source: Source) -> Restricted:
        return Restricted(source, self.scores, k=self.k)


WORDS = {
    Scores.LABEL: "label",
    Scores.TOP_K: "topk",
    Scores.PROBABILITIES: "probabilities",
    Scores.LOGITS: "logits",
}


def restricted(source: Source, access: str) -> Restricted:
    """The source behind an access that is spelt out.

    Arguments:
        source: Of class scores.
        access: ``label``, ``topk`` (five classes), ``topk:3``, ``probabilities`` or ``logits``;
            none lets a gradient pass.

    Raises:
        UserError: for another word, or one that the source cannot serve.

    Example:
        >>> from reprogram.sources import load
        >>> load("zoo:images?access=topk:3").access
        'topk:3'
    """
    word, colon, number = access.partition(":")
    spelt = {word: scores for scores, word in WORDS.items()}
    if word not in spelt or (colon and (word != "topk" or not number.isdecimal())):
        raise UserError(f"access {access!r} is unknown; write label, topk, topk:3, probabilities "
                        "or logits")  # fmt: skip
    return Restricted(source, spelt[word], k=int(number) if colon else None)
