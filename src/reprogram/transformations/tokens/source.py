"""Texts as the tokens of the source itself."""

from __future__ import annotations

from collections.abc import Sequence

from reprogram.lexicon import Tokenizer
from reprogram.texts import PAIR
from reprogram.transformations.tokens.base import Reader
from reprogram.types import SourceLike, TaskSpec, UserError


class SourceTokens(Reader):
    """Tokens of the source's own tokenizer, without start and end; ids are the source's.

    Between the two texts of a pair stands the source's end token, where it has one. Where nothing
    stands, the source's filling does.

    Arguments:
        length: Tokens of a sample; what is longer is cut, and counted by :meth:`tally`.
        fingerprint: Of the tokenizer that the program was trained with; ``None`` to take the
            source's as it is.

    Raises:
        UserError: (in ``bind``) if the source has no tokenizer, or another one.

    Example:
        >>> SourceTokens(128)
        SourceTokens(length=128)
    """

    tokenizer: Tokenizer

    def __init__(self, length: int, *, fingerprint: str | None = None) -> None:
        super().__init__(length)
        self.fingerprint = fingerprint

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Take hold of the source's tokenizer.

        Raises:
            UserError: if there is none, it is another one, or it takes fewer tokens.
        """
        super().bind(source, task)
        self.tokenizer = tokenizer = tokenizer_of(source)
        found = tokenizer.fingerprint()
        if self.fingerprint not in (None, found):
            raise UserError(
                f"source {source.uri or 'given'} has a tokenizer of fingerprint {found[:12]}; the "
                f"program was trained with {self.fingerprint[:12]}: put the same tokenizer back, "
                "or train again"
            )
        self.fingerprint = found
        self.filling, self.unknown = tokenizer.pad, tokenizer.unknown

    def read(self, text: str) -> list[int]:
        """Ids of all tokens of a text."""
        return _read(self.tokenizer, text)

    @property
    def size(self) -> int:
        """Ids there are."""
        return self.tokenizer.size

    @classmethod
    def learn(
        cls, texts: Sequence[str], source: SourceLike, *, length: int | None = None,
        most: int | None = None,
    ) -> SourceTokens:  # fmt: skip
        """The part that is as long as the longest of these texts.

        Arguments:
            texts: Those of training.
            source: Whose tokenizer is meant.
            length: Tokens of a sample; ``None`` for those of the longest text.
            most: Tokens that the source takes, where ``length`` is ``None``.

        Raises:
            UserError: if the source has no tokenizer.
        """
        tokenizer = tokenizer_of(source)
        if length is None:
            length = max([1, *(len(_read(tokenizer, text)) for text in texts)])
            length = length if most is None else min(length, most)
        return cls(length, fingerprint=tokenizer.fingerprint())

    def extra_repr(self) -> str:
        return f"length={self.length}"


def tokenizer_of(source: SourceLike) -> Tokenizer:
    """How a source reads text.

    Raises:
        UserError: if it does not tell.
    """
    tokenizer = source.lexicon.tokenizer if source.lexicon is not None else None
    if tokenizer is None:
        raise UserError(f"source {source.uri or 'given'} has no tokenizer to read texts with; read "
                        "characters, words or k-mers, or take a source that has one")  # fmt: skip
    return tokenizer


def _read(tokenizer: Tokenizer, text: str) -> list[int]:
    """Ids of a text, or of a pair with the end token between."""
    first, *rest = tokenizer.encode(text.split(PAIR))
    between = [] if tokenizer.end is None else [tokenizer.end]
    return [*first, *(i for part in rest for i in [*between, *part])]
