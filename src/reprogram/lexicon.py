"""What a language source knows of its tokens.

This module imports nothing of the package.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn


@runtime_checkable
class Tokenizer(Protocol):
    """How a language source reads text.

    Attributes:
        size: Tokens there are; ids run from 0 to ``size - 1``.
        pad: Id of the token that fills up.
        unknown: Id of the token of what is not known.
        mask: Id of the token that stands for what is to be guessed, if there is one.
        start: Id of the token before every text, if there is one.
        end: Id of the token behind every text, and between two, if there is one.
    """

    size: int
    pad: int
    unknown: int
    mask: int | None
    start: int | None
    end: int | None

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, without start and end, as many as it takes."""
        ...

    def token(self, index: int) -> str:
        """How the token of that id is written."""
        ...

    def fingerprint(self) -> str:
        """A hash of everything that decides what :meth:`encode` returns."""
        ...


class Lexicon(nn.Module):
    """What a language source knows of its tokens.

    Arguments:
        tokenizer: How it reads text; ``None`` where that is not known.
        embeddings: (tokens, width): what stands for each token at the door ``embeddings``.
        weight: (tokens, width) of the layer that turns hidden states into token scores, where the
            source has one: ``weight @ h + bias``.
        bias: (tokens,).
    """

    embeddings: Tensor
    weight: Tensor | None
    bias: Tensor | None

    def __init__(
        self, tokenizer: Tokenizer | None, embeddings: Tensor, weight: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.tokenizer = tokenizer
        for name, value in (("embeddings", embeddings), ("weight", weight), ("bias", bias)):
            self.register_buffer(name, None if value is None else value.detach())

    def fingerprint(self) -> str:
        """A hash of the tables and of what the tokenizer does."""
        digest = hashlib.sha256(b"" if self.tokenizer is None
                                else self.tokenizer.fingerprint().encode())  # fmt: skip
        for value in self.buffers():
            digest.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()
