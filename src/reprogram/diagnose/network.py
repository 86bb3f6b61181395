"""The small network of texts that :func:`reprogram.diagnose.scratch` trains from nothing."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from reprogram.diagnose.text import by_letters, read
from reprogram.tasks.base import Task
from reprogram.transformations import Compose, Transformation
from reprogram.transformations.tokens.units import learned
from reprogram.types import SourceLike, TaskSpec

WIDTH, CHANNELS = 32, 64
MOST = 512  # tokens of a text that are read
PARTS = 10  # of a text whose letters have places


def text_network(task: Task, seed: int) -> Transformation:
    """Tokens of the training texts, single letters or words, and the network that reads them.

    Where all training texts have one length, as aligned sequences, ten parts of a text are told
    apart; elsewhere it is read as a whole.
    """
    texts = read(task.train, task)
    units, least = ("characters", 1) if by_letters(task) else ("words", 2)
    reader = learned(units, texts, least=least, most=MOST)
    aligned = len({len(text) for text in texts}) == 1
    return Compose([reader, TextNetwork(parts=PARTS if aligned else 1, seed=seed)])


class TextNetwork(Transformation):
    """Token ids -> scores: 32 numbers a token, two convolutions of 64 channels with batch-norm, the
    largest value in each part of the text, one linear layer.

    Arguments:
        parts: How many parts of a text, of equal lengths, are told apart.
        seed: Of the weights.
    """

    def __init__(self, *, parts: int = 1, seed: int = 0) -> None:
        super().__init__()
        self.parts, self.seed = parts, seed

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Create the layers under the seed."""
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            self.table = nn.Embedding(int(task.input.upper) + 1, WIDTH, padding_idx=0)
            self.body = nn.Sequential(
                nn.Conv1d(WIDTH, CHANNELS, 7, padding=3), nn.BatchNorm1d(CHANNELS), nn.ReLU(),
                nn.Conv1d(CHANNELS, CHANNELS, 7, padding=3), nn.BatchNorm1d(CHANNELS), nn.ReLU(),
                nn.AdaptiveMaxPool1d(self.parts), nn.Flatten(),
            )  # fmt: skip
            self.head = nn.Linear(CHANNELS * self.parts, source.output.shape[0])

    def forward(self, prepared: Int[Tensor, "batch length"]) -> Float[Tensor, "batch scores"]:
        """As many scores as the source has outputs."""
        return self.head(self.body(self.table(prepared.long()).transpose(1, 2)))
