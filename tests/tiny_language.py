"""A masked language model of two layers and a tokenizer of words, small enough for any test."""

import hashlib
from collections.abc import Sequence

import torch
from tiny import seeded
from torch import Tensor, nn

from reprogram.lexicon import Lexicon
from reprogram.sources import Stage, TorchSource
from reprogram.tasks.base import Split, Task
from reprogram.texts import encode
from reprogram.types import InputSpec, OutputSpec, TaskSpec, Tokens

WORDS = ("good", "bad", "film", "plot", "the", "a", "was", "very", "yes", "no", "?", "A", "C", "G",
         "T", "un", "##like", "##ly")  # fmt: skip
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WIDTH, LONGEST = 16, 24


class WordTokenizer:
    """Ids of words parted by blanks; a word of several pieces is written un##like##ly."""

    pad, unknown, start, end = 0, 1, 2, 3

    def __init__(self, brackets: bool = True, mask: bool = True) -> None:
        self.tokens = (*SPECIAL, *WORDS)
        self.size = len(self.tokens)
        self.mask = 4 if mask else None
        if not brackets:
            self.start = self.end = None

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """As a transformers tokenizer does, special tokens in a text are read as such."""
        known = {token: i for i, token in enumerate(self.tokens)}
        pieces = [text.replace("##", " ##").split() for text in texts]
        return [[known.get(piece, self.unknown) for piece in text] for text in pieces]

    def token(self, index: int) -> str:
        return self.tokens[index]

    def fingerprint(self) -> str:
        return hashlib.sha256(repr(self.tokens).encode()).hexdigest()


class Look(nn.Module):
    """Ids to embeddings."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.table = nn.Embedding(tokens, WIDTH)

    def forward(self, x: Tokens) -> Tokens:
        """(batch, length) -> (batch, length, width)."""
        return x._replace(values=self.table(x.values.long()))


class Encode(nn.Module):
    """Embeddings to hidden states: each place sees all that the mask keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Parameter(0.3 * torch.randn(LONGEST, WIDTH))
        self.mix = nn.Linear(WIDTH, WIDTH)
        self.out = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: Tokens) -> Tensor:
        """(batch, length, width) -> the same, or (batch, width) at the position."""
        kept = x.mask[..., None].to(x.values.dtype)
        seen = self.mix((x.values + self.places[: x.values.shape[1]]) * kept).tanh()
        mean = (seen * kept).sum(1, keepdim=True) / kept.sum(1, keepdim=True).clamp_min(1)
        hidden = self.out(torch.cat([seen, mean.expand_as(seen)], -1)).tanh()
        if x.position is None:
            return hidden
        return hidden[torch.arange(len(hidden)), x.position]


def language_source(brackets: bool = True, mask: bool = True, decoder: bool = True) -> TorchSource:
    """With the doors ``tokens`` and ``embeddings`` and the exit ``hidden``."""
    tokenizer = WordTokenizer(brackets, mask)
    look = seeded(lambda: Look(tokenizer.size))
    encoder = seeded(Encode)
    scores = seeded(lambda: nn.Linear(WIDTH, tokenizer.size))
    with torch.no_grad():
        scores.bias += torch.linspace(-1, 1, tokenizer.size)
    stages = [
        Stage("tokens", InputSpec("tokens", (LONGEST,), 0, tokenizer.size - 1), look),
        Stage("embeddings", InputSpec("embeddings", (LONGEST, WIDTH)), encoder),
        Stage("hidden", InputSpec("features", (WIDTH,)), scores),
    ]
    rows = (scores.weight, scores.bias) if decoder else (None, None)
    lexicon = Lexicon(tokenizer, look.table.weight, *rows)
    return TorchSource(stages, OutputSpec("token scores", (tokenizer.size,)), lexicon=lexicon)


def hidden_source(**options: bool) -> TorchSource:
    """The same as WARP enters and leaves it."""
    return language_source(**options).exit("hidden").door("embeddings")


def text_spec(longest: int = 60, classes: tuple[str, ...] = ("bad", "good")) -> TaskSpec:
    """A task of texts."""
    return TaskSpec("toy", InputSpec("text", (longest,), 0, 1114111), classes)


def coded(*texts: str, longest: int = 60) -> Tensor:
    """A batch as a split gives it."""
    return encode(texts, longest).float()


def gap_task(rows: int = 20) -> Task:
    """ACGTACGT... from any of its letters on, with two places of ten left out."""
    letters = (torch.arange(rows)[:, None] + torch.arange(10)) % 4
    weights = torch.zeros(rows, 10)
    weights[:, 4:6] = 1
    inputs = torch.tensor([ord(c) for c in "ACGT"])[letters].int()
    inputs = inputs.masked_fill(weights > 0, ord("_"))
    split = Split(inputs, letters * weights.long(), weights, tuple(map(str, range(rows))))
    spec = TaskSpec("gaps", InputSpec("text", (10,), 0, 1114111), tuple("ACGT"), target="tokens")
    return Task(spec, split, split, split)
