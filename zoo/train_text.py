"""Trains ``zoo:text-lstm``, ``zoo:text-bilstm`` and ``zoo:text-cnn`` on reviews.

    python zoo/train_text.py DATA [--work FOLDER] [--export FOLDER]

``DATA`` holds ``text_sentconv/``: ``rt-polarity.all``, ``custrev.all`` and ``stsa.binary.*``. Run
again after an interruption and it goes on from its last epoch.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from corpus import pieces, reviews
from loop import SEED, arguments, produce
from torch import Tensor, nn

from reprogram.sources.sentence import CNNEncoder, LSTMEncoder, SentenceNetwork
from reprogram.sources.words import WordPieces

CLASSES = ("film: negative", "film: positive", "product: negative", "product: positive")
SPLITS = {"train": 0.8, "validation": 0.1, "test": 0.1}
VOCABULARY, WHOLE = 4000, 3000  # tokens, and how many of them are words
LENGTH, WIDTH, BATCH = 128, 64, 64
DROPPED = 0.2  # share of the tokens that training makes unknown
ENCODERS = {
    "text-lstm": (LSTMEncoder, {"hidden": 128, "both": False}),
    "text-bilstm": (LSTMEncoder, {"hidden": 128, "both": True}),
    "text-cnn": (CNNEncoder, {"filters": 128, "windows": [3, 4, 5]}),
}
WHAT = {
    "text-lstm": "an LSTM, read behind the last token",
    "text-bilstm": "an LSTM in each direction, read where it ends",
    "text-cnn": "filters over 3, 4 and 5 tokens, the strongest answer of each",
}


def load(folder: Path) -> dict[str, list[tuple[int, str]]]:
    """Classes and sentences of each split, drawn with a seed."""
    found = reviews(folder)
    rows = [(2 * i + label, text) for i, kind in enumerate(("film", "product"))
            for label, text in found[kind]]  # fmt: skip
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(SEED)).tolist()
    splits, begin = {}, 0
    for split, share in SPLITS.items():
        end = begin + round(share * len(rows))
        splits[split] = [rows[i] for i in order[begin:end]]
        begin = end
    return splits


def tensors(rows: list[tuple[int, str]], tokenizer: WordPieces) -> tuple[Tensor, Tensor]:
    """Ids (count, 128) with zeros behind each text, and classes (count,)."""
    ids = torch.zeros(len(rows), LENGTH, dtype=torch.long)
    for row, own in zip(ids, tokenizer.encode([text for _, text in rows]), strict=True):
        row[: min(LENGTH, len(own))] = torch.tensor(own[:LENGTH], dtype=torch.long)
    return ids, torch.tensor([label for label, _ in rows])


class Batches:
    """Shuffled batches with soft labels, in which some tokens have become unknown."""

    def __init__(self, ids: Tensor, labels: Tensor, unknown: int, smoothing: float = 0.1) -> None:
        self.ids, self.labels, self.unknown = ids, labels, unknown
        self.smoothing = smoothing
        self.steps = len(labels) // BATCH

    def __call__(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        g = torch.Generator().manual_seed(SEED * 10_000 + epoch)
        order = torch.randperm(len(self.labels), generator=g)
        for rows in order[: self.steps * BATCH].split(BATCH):
            ids = self.ids[rows]
            dropped = torch.rand(ids.shape, generator=g) < DROPPED
            y = nn.functional.one_hot(self.labels[rows], len(CLASSES)).float()
            y = y * (1 - self.smoothing) + self.smoothing / len(CLASSES)
            yield ids.where(~dropped | (ids == 0), self.unknown), y


CARD = """# {name}

Small reader of English reviews: sentences to 4 classes.{status}

- **Architecture**: embeddings of {width}, {what},
  a linear layer; after Neekhara, Hussain, Dubnov, Koushanfar (2019, arXiv 1809.01829), smaller;
  {parameters:,} weights, kept in float16.
- **Reads**: at most {length} tokens in lower case without accents: {whole:,} words, and pieces of
  others, {vocabulary:,} in all. Padding changes nothing.
- **Classes**: {classes}.
- **Data**: film reviews: the training part of SST-2 (Socher et al., 2013) and of MR (Pang and Lee,
  2005) what is not in SST-2; product reviews: CR (Hu and Liu, 2004). Rows of MR that equal,
  hold or nearly equal a sentence of SST-2's development or test part are left out, and so is every
  text met twice. Nothing of TREC. For research; no explicit licence.
- **Split**: {train:,} training, {validation:,} validation, {test:,} test, at random.
- **Training**: `zoo/train_text.py`, seed {seed}, {epochs} epochs of AdamW under one cosine cycle;
  a fifth of the tokens made unknown; moving average of the weights; epoch {epoch} chosen on
  validation; {minutes:.1f} minutes on a shared core.
- **Accuracy** of these rounded weights: validation {accuracy[validation]},
  test {accuracy[test]}; the commonest class has {majority:.1%} of the test sentences.
- **Known limits**: twelve thousand sentences and no pre-training: a source to borrow, no judge of
  reviews.
- **Licence**: Apache-2.0 for the weights; the sentences are not part of this project.
"""


def main() -> None:
    """Trains each, measures once on test, exports."""
    options = arguments(__doc__, "text", epochs=8)
    splits = load(options.data / "text_sentconv")
    sizes = {split: len(rows) for split, rows in splits.items()}
    print("sentences", sizes, flush=True)
    texts = [text for _, text in splits["train"]]
    tokens = pieces(texts, VOCABULARY, (), WHOLE)
    tokenizer = WordPieces(tokens)
    data = {split: tensors(rows, tokenizer) for split, rows in splits.items()}
    batches = Batches(*data["train"], tokenizer.unknown)
    counts = data["test"][1].bincount(minlength=len(CLASSES))
    for name, (encoder, numbers) in ENCODERS.items():
        torch.manual_seed(SEED)
        network = SentenceNetwork(
            encoder(width=WIDTH, **numbers),
            vocabulary=len(tokens), width=WIDTH, classes=len(CLASSES),
        )  # fmt: skip
        nn.init.normal_(network.embed.table.weight, std=0.3)  # pyright: ignore
        produce(
            name, network, batches, {s: data[s] for s in ("validation", "test")},
            argparse.Namespace(**{**vars(options), "work": options.work / name}),
            steps=batches.steps, rate=3e-3, decay=0.05, bfloat16=False,
            settings={
                "architecture": encoder.__name__, "encoder": numbers, "width": WIDTH,
                "length": LENGTH, "classes": list(CLASSES), "sentences": sizes, "tokens": tokens,
            },
            card=CARD,
            facts={
                "name": name, "what": WHAT[name], "width": WIDTH, "length": LENGTH, "whole": WHOLE,
                "vocabulary": len(tokens), "classes": "; ".join(CLASSES),
                "parameters": sum(p.numel() for p in network.parameters() if p.requires_grad),
                "majority": (counts.max() / counts.sum()).item(), **sizes,
            },
        )  # fmt: skip


if __name__ == "__main__":
    main()
