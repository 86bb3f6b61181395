"""Pre-trains ``zoo:text-mlm``: a small transformer that guesses hidden tokens.

    python zoo/train_text_mlm.py DATA [--work FOLDER] [--export FOLDER]

``DATA`` holds ``text_sentconv/`` and ``rte/``. Run again after an interruption and it goes on from
its last epoch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from corpus import letters, pieces, read, reviews, unseen
from loop import SEED, arguments, produce
from torch import Tensor, nn

from reprogram.sources.masked_lm import MaskedNetwork
from reprogram.sources.words import END, MASK, START, WordPieces

SPLITS = {"train": 0.94, "validation": 0.03, "test": 0.03}
VOCABULARY, WHOLE = 5000, 4000  # tokens, and how many of them are words
SHAPE = {"width": 128, "length": 128, "layers": 3, "heads": 4}
TOKENS = 1536  # in a batch
HIDDEN = 0.2  # share of the tokens that training asks for
ASKED = 0.15  # share asked for in the held-out texts


def load(folder: Path) -> list[str]:
    """Every text once: reviews, questions, and the premises and hypotheses of RTE."""
    texts = [text for kind in reviews(folder / "text_sentconv").values() for _, text in kind]
    questions = folder / "text_sentconv"
    test = [text for _, text in read(questions / "TREC.test.all", "latin-1")]
    texts += [t for _, t in unseen(read(questions / "TREC.train.all", "latin-1"), test)]
    held_out = [t for part in ("dev", "test") for pair in _rte(folder, part) for t in pair]
    pairs = [(0, text) for pair in _rte(folder, "train") for text in pair]
    return texts + [text for _, text in unseen(pairs, held_out)]


def _rte(folder: Path, part: str) -> list[list[str]]:
    lines = (folder / "rte" / f"{part}.tsv").read_text(encoding="utf-8").split("\n")[1:]
    return [line.split("\t")[1:3] for line in lines if line]


def split(texts: list[str]) -> dict[str, list[str]]:
    """The texts of each split, drawn with a seed."""
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(SEED)).tolist()
    splits, begin = {}, 0
    for name, share in SPLITS.items():
        end = begin + math.ceil(share * len(texts))
        splits[name] = [texts[i] for i in order[begin:end]]
        begin = end
    return splits


def filled(rows: list[list[int]]) -> Tensor:
    """Rows of ids as (count, longest), zeros behind each."""
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


class Batches:
    """Batches with some tokens hidden: four in five by ``[mask]``, one in ten by another.

    One half of the texts comes alone, in batches of about one length; the other half comes several
    in a row, so that every distance is learned.
    """

    def __init__(self, rows: list[list[int]], tokenizer: WordPieces) -> None:
        self.rows, self.tokenizer = rows, tokenizer
        self.length = SHAPE["length"]
        self.steps = min(len(self.gathered(epoch)) for epoch in range(8)) - 2

    def gathered(self, epoch: int) -> list[list[list[int]]]:
        """The rows of each batch, in order."""
        g = torch.Generator().manual_seed(SEED * 10_000 + epoch)
        order = torch.randperm(len(self.rows), generator=g).tolist()
        half = len(order) // 2
        alone = [self.rows[i][: self.length - 2] for i in order[:half]]
        alone = [[self.start, *row, self.end] for row in sorted(alone, key=len)]
        joined, line = [], [self.start]
        for i in order[half:]:
            row = [*self.rows[i], self.end]
            if len(line) > 1 and len(line) + len(row) > self.length:
                joined.append(line)
                line = [self.start]
            line = (line + row)[: self.length]
        joined.append(line)
        batches, batch = [], []
        for row in alone + joined:
            if batch and (len(batch) + 1) * max(len(row), *map(len, batch)) > TOKENS:
                batches.append(batch)
                batch = []
            batch.append(row)
        return [*batches, batch]

    def __call__(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        g = torch.Generator().manual_seed(SEED * 10_000 + epoch)
        batches = self.gathered(epoch)
        for i in torch.randperm(len(batches), generator=g).tolist()[: self.steps]:
            yield self.hide(filled(batches[i]), g, HIDDEN)

    def hide(self, ids: Tensor, g: torch.Generator, share: float) -> tuple[Tensor, Tensor]:
        """(batch, length) -> (batch, length, 2) for the network, and the tokens asked for."""
        asked = (torch.rand(ids.shape, generator=g) < share) & self.ordinary(ids)
        how = torch.rand(ids.shape, generator=g)
        others = torch.randint(5, self.tokenizer.size, ids.shape, generator=g)
        seen = torch.where(asked & (how < 0.9), others, ids)
        seen = seen.masked_fill(asked & (how < 0.8), self.mask)
        return torch.stack((seen, asked.long()), 2), ids[asked]

    def measured(self, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Held-out texts, each alone, all that is asked for behind ``[mask]``."""
        ids = filled([[self.start, *row[: self.length - 2], self.end] for row in rows])
        g = torch.Generator().manual_seed(SEED)
        asked = (torch.rand(ids.shape, generator=g) < ASKED) & self.ordinary(ids)
        return torch.stack((ids.masked_fill(asked, self.mask), asked.long()), 2), ids[asked]

    def ordinary(self, ids: Tensor) -> Tensor:
        """Where a token of the text stands that can be guessed."""
        return ids >= 5  # behind [pad], [unknown], [mask], [start], [end]

    @property
    def start(self) -> int:
        """Before every text."""
        return self.tokenizer.tokens.index(START)

    @property
    def end(self) -> int:
        """Behind every text."""
        return self.tokenizer.tokens.index(END)

    @property
    def mask(self) -> int:
        """For what is hidden."""
        return self.tokenizer.tokens.index(MASK)


def unigram(rows: list[list[int]], labels: Tensor) -> tuple[float, float]:
    """Accuracy and perplexity of telling each token as often as it stands in these texts."""
    counts = torch.tensor([i for row in rows for i in row]).bincount(minlength=VOCABULARY) + 1.0
    scores = (counts / counts.sum()).log()
    return (labels == counts.argmax()).float().mean().item(), (-scores[labels].mean()).exp().item()


CARD = """# text-mlm

Small masked language model of English: at most 128 tokens to scores of 5,000.{status}

- **Architecture**: a transformer of {layers} layers in front of whose parts the layer-norms stand,
  states of {width}, {heads} heads, learned distances; the scores by the embeddings themselves;
  after BERT (Devlin, Chang, Lee, Toutanova, 2018, arXiv 1810.04805), some ninety times smaller;
  {parameters:,} weights, kept in float16.
- **Reads**: lower case without accents: {whole:,} words, and pieces of words; `[start]` before a
  text, `[end]` behind it and between two. Padding changes nothing.
- **Data**: {count:,} texts, {tokens:,} tokens in training: reviews (training part of SST-2,
  Socher et al., 2013; MR, Pang and Lee, 2005; CR, Hu and Liu, 2004), questions (training part of
  TREC, Li and Roth, 2002), premises and hypotheses (training part of RTE), without their labels.
  Left out: what equals, holds or nearly equals a text of the development or test part of SST-2,
  TREC or RTE. For research; no explicit licence.
- **Split**: {train:,} training, {validation:,} validation, {test:,} test, at random.
- **Training**: `zoo/train_text_mlm.py`, seed {seed}, {epochs} epochs of AdamW under one cosine
  cycle; a fifth of the tokens hidden; half of the texts alone, half in rows of several; moving
  average of the weights; epoch {epoch} chosen on validation; {minutes:.0f} minutes on a shared
  core.
- **Accuracy** of these rounded weights on hidden tokens: validation {accuracy[validation]},
  test {accuracy[test]}, perplexity {perplexity[test]:.0f}; by the frequency of each token alone
  {blind:.1%}, perplexity {frequency:.0f}.
- **Known limits**: language models learn from thousands of times as many tokens: it knows frequent
  words and what stands beside them, and little of the world.
- **Licence**: Apache-2.0 for the weights; the texts are not part of this project.
"""


def main() -> None:
    """Trains, measures once on test, exports."""
    options = arguments(__doc__, "text-mlm", epochs=7)
    splits = split(load(options.data))
    sizes = {name: len(texts) for name, texts in splits.items()}
    known = {letters(text) for text in splits["train"]}
    assert not any(letters(t) in known for name in ("validation", "test") for t in splits[name])
    tokens = pieces(splits["train"], VOCABULARY, (MASK, START, END), WHOLE)
    tokenizer = WordPieces(tokens)
    rows = {name: tokenizer.encode(texts) for name, texts in splits.items()}
    batches = Batches(rows["train"], tokenizer)
    held_out = {name: batches.measured(rows[name]) for name in ("validation", "test")}
    told = sum(map(len, rows["train"]))
    blind, frequency = unigram(rows["train"], held_out["test"][1])
    print(f"texts {sizes} tokens {told} unigram {blind:.4f} {frequency:.1f} "
          f"steps {batches.steps}", flush=True)  # fmt: skip
    network = MaskedNetwork(vocabulary=len(tokens), **SHAPE)
    produce(
        "text-mlm", network, batches, held_out, options,
        steps=batches.steps, rate=2e-3, decay=0.05, bfloat16=False,
        settings={"architecture": "MaskedNetwork", **SHAPE, "texts": sizes, "tokens": tokens},
        card=CARD,
        facts={
            "parameters": sum(p.numel() for p in network.parameters()), "whole": WHOLE,
            "count": sum(sizes.values()), "tokens": told, "blind": blind, "frequency": frequency,
            **SHAPE, **sizes,
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()
