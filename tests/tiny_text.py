"""A text classifier and a task of texts, small enough for any test."""

import torch
from tiny import seeded
from tiny_language import LONGEST, WIDTH, Look, WordTokenizer
from torch import Tensor, nn

from reprogram.lexicon import Lexicon
from reprogram.sources import Stage, TorchSource
from reprogram.tasks import make_task
from reprogram.tasks.base import Task
from reprogram.types import InputSpec, Notation, OutputSpec, Tokens

CLASSES = 3
LETTERS = {"x": "ACG", "y": "CGT", "z": "GTA"}


class Pool(nn.Module):
    """Embeddings to logits, the places kept apart a little."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Parameter(1 + 0.2 * torch.randn(LONGEST, WIDTH))
        self.out = nn.Linear(WIDTH, CLASSES)

    def features(self, x: Tokens) -> Tensor:
        """(batch, width)."""
        kept = x.mask[..., None].to(x.values.dtype)
        seen = (x.values * self.places[: x.values.shape[1]] * kept).sum(1)
        return (seen / kept.sum(1).clamp_min(1)).tanh()

    def forward(self, x: Tokens) -> Tensor:
        """(batch, length, width) -> (batch, classes)."""
        return self.out(self.features(x))


def text_source(brackets: bool = True, seed: int = 0) -> TorchSource:
    """With the doors ``tokens`` and ``embeddings``; three classes."""
    tokenizer = WordTokenizer(brackets)
    look = seeded(lambda: Look(tokenizer.size), seed)
    stages = [
        Stage("tokens", InputSpec("tokens", (LONGEST,), 0, tokenizer.size - 1), look),
        Stage("embeddings", InputSpec("embeddings", (LONGEST, WIDTH)), seeded(Pool, seed)),
    ]
    lexicon = Lexicon(tokenizer, look.table.weight)
    return TorchSource(stages, OutputSpec("classes", (CLASSES,)), lexicon=lexicon)


def text_task(rows: int = 200, notation: Notation = "") -> Task:
    """Three classes of texts of four to eight letters, each with letters of its own."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(4, 9, (rows,), generator=generator).tolist()
    draws = torch.randint(3, (rows, 8), generator=generator).tolist()
    labels = ["xyz"[i % 3] for i in range(rows)]
    texts = [
        "".join(LETTERS[label][j] for j in draw[:length])
        for label, draw, length in zip(labels, draws, lengths, strict=True)
    ]
    return make_task("letters", "text", (texts, labels), notation=notation)
