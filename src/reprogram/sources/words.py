"""How the library's own text sources read: words, and pieces of the words that are rare."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence

from reprogram.types import UserError

# Letters and digits together, any other mark by itself; "isn't" and "it's" as treebanks write
# them, "is n't" and "it 's", so that both spellings read the same.
WORD = re.compile(r"\w+?(?=n't\b)|n't\b|'(?:s|t|m|d|re|ve|ll)\b|\w+|[^\w\s]")
PAD, UNKNOWN, MASK, START, END = "[pad]", "[unknown]", "[mask]", "[start]", "[end]"
INSIDE = "##"  # in front of a piece that does not begin a word


def words(text: str) -> list[str]:
    """The words and marks of a text, in lower case and without accents.

    Example:
        >>> words("Isn't it naïve?")
        ['is', "n't", 'it', 'naive', '?']
    """
    text = text.lower()
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text)
        text = "".join(c for c in decomposed if not unicodedata.combining(c))
    return WORD.findall(text)


class WordPieces:
    """Words of a list; a word that is not there falls into the longest pieces that are.

    A piece inside a word is written behind ``##``. A character that no piece has is one unknown
    token. What stands between brackets in a text is no token of its own, so that no text can write
    a ``[mask]``.

    Arguments:
        tokens: By their ids; ``[pad]`` and ``[unknown]`` among them, and ``[mask]``, ``[start]``
            and ``[end]`` where the source has such tokens.

    Raises:
        UserError: if a token stands twice, or one of the two is missing.

    References:
        Google's neural machine translation system (Wu, Schuster, Chen et al., 2016),
        arXiv 1609.08144, whose pieces these are.

    Example:
        >>> pieces = WordPieces(["[pad]", "[unknown]", "play", "##ing", "##s", "!"])
        >>> pieces.encode(["Playing!", "plays é"])
        [[2, 3, 5], [2, 4, 1]]
        >>> pieces.token(3), pieces.mask
        ('##ing', None)
    """

    size: int
    pad: int
    unknown: int
    mask: int | None
    start: int | None
    end: int | None

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = list(tokens)
        self._ids = {token: i for i, token in enumerate(self.tokens)}
        self.size = len(self.tokens)
        if len(self._ids) != self.size:
            twice = next(t for i, t in enumerate(self.tokens) if self._ids[t] != i)
            raise UserError(f"argument 'tokens' holds {twice!r} twice; give each token once")
        for needed in (PAD, UNKNOWN):
            if needed not in self._ids:
                raise UserError(f"argument 'tokens' lacks {needed!r}; add it")
        self.pad, self.unknown = self._ids[PAD], self._ids[UNKNOWN]
        self.mask, self.start, self.end = (self._ids.get(t) for t in (MASK, START, END))
        self._longest = max(map(len, self.tokens))

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, without start and end, as many as it takes."""
        known: dict[str, list[int]] = {}
        rows = []
        for text in texts:
            row: list[int] = []
            for word in words(text):
                if word not in known:
                    known[word] = list(self._pieces(word))
                row += known[word]
            rows.append(row)
        return rows

    def _pieces(self, word: str) -> Iterator[int]:
        """Ids of the longest pieces, from the left."""
        begin = 0
        while begin < len(word):
            mark = INSIDE if begin else ""
            for end in range(min(len(word), begin + self._longest), begin, -1):
                found = self._ids.get(mark + word[begin:end])
                if found is not None:
                    yield found
                    begin = end
                    break
            else:
                yield self.unknown
                begin += 1

    def token(self, index: int) -> str:
        """How the token of that id is written."""
        return self.tokens[index]

    def fingerprint(self) -> str:
        """A hash of the tokens and of the rule that finds words."""
        told = json.dumps([WORD.pattern, self.tokens])
        return hashlib.sha256(told.encode()).hexdigest()
