"""The texts that the text sources learn from, and the pieces of words they are read by."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise, product
from pathlib import Path

from reprogram.sources.words import INSIDE, PAD, UNKNOWN, words

SHORT = 12  # letters: a shorter held-out sentence ("too bad .") may stand in any text


def read(path: Path, encoding: str) -> list[tuple[int, str]]:
    """Labels and texts of a file with one ``LABEL TEXT`` a line, as Kim (2014) keeps them."""
    # Not splitlines: the Latin-1 files hold characters that it takes for ends of lines.
    lines = path.read_text(encoding=encoding).split("\n")
    return [(int(line[0]), line[1:].strip()) for line in lines if line.strip()]


def letters(text: str) -> str:
    """A text by its letters and digits alone: spacing, accents and marks are no difference.

    Example:
        >>> letters("It's -lrb- naïve -rrb- .")
        'itsnaive'
    """
    plain = "".join(words(re.sub(r"-[lr][rcs]b-", " ", text.lower())))
    return re.sub(r"[^a-z0-9]", "", plain)


def unseen(texts: Iterable[tuple[int, str]], held_out: Sequence[str]) -> list[tuple[int, str]]:
    """Each text once, without those that equal, hold or nearly equal one of ``held_out``.

    The sentences of SST were cut from the rows of MR, so a row may hold a test sentence among
    others. Nearly: four fifths of the pairs of neighbouring words of the held-out text.
    """
    whole = {letters(text) for text in held_out}
    inner = [text for text in whole if len(text) >= SHORT]
    begins: dict[str, list[str]] = {}
    for text in inner:
        begins.setdefault(text[:SHORT], []).append(text)
    pairs = [_pairs(text) for text in held_out]
    holders: dict[tuple[str, str], list[int]] = {}
    for i, own in enumerate(pairs):
        for pair in own:
            holders.setdefault(pair, []).append(i)
    kept, met = [], set()
    for label, text in texts:
        key = letters(text)
        if key in met or key in whole or not key:
            continue
        met.add(key)
        places = [i for i in range(len(key) - SHORT + 1) if key[i : i + SHORT] in begins]
        if any(key.startswith(t, i) for i in places for t in begins[key[i : i + SHORT]]):
            continue
        shared = Counter(i for pair in _pairs(text) for i in holders.get(pair, ()))
        if not any(count >= 0.8 * len(pairs[i]) for i, count in shared.items()):
            kept.append((label, text))
    return kept


def _pairs(text: str) -> set[tuple[str, str]]:
    return set(pairwise(w for w in words(text) if w.isalnum()))


def reviews(folder: Path) -> dict[str, list[tuple[int, str]]]:
    """Sentences of ``film`` and ``product`` reviews, 0 against and 1 in favour.

    Nothing of the development and test parts of SST-2 is among them, and no text is told twice.
    """
    sst = {part: read(folder / f"stsa.binary.{part}", "utf-8") for part in ("train", "dev", "test")}
    held_out = [text for part in ("dev", "test") for _, text in sst[part]]
    cut = [text for _, text in sst["train"]]  # from rows of MR
    mr = unseen(read(folder / "rt-polarity.all", "latin-1"), held_out + cut)
    goods = read(folder / "custrev.all", "latin-1")
    return {
        "film": unseen(sst["train"], held_out) + mr,
        "product": unseen([(y, text.replace(" n 't", " n't")) for y, text in goods], ()),
    }


def pieces(texts: Iterable[str], size: int, special: Sequence[str], whole: int) -> list[str]:
    """A vocabulary: special tokens, the commonest words, and pieces of the others.

    Arguments:
        texts: To learn from.
        size: Tokens in all.
        special: Beside ``[pad]`` and ``[unknown]``, which come first.
        whole: Words that are kept whole.
    """
    counts = Counter(word for text in texts for word in words(text))
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    alphabet = sorted({character for word in ranked[:whole] for character in word})
    inside = [INSIDE + character for character in alphabet if character.isalnum()]
    spared: Counter[str] = Counter()  # tokens that each piece would save
    for word in ranked[whole:]:
        for begin, length in product(range(len(word)), range(2, 7)):
            if begin + length <= len(word):
                piece = (INSIDE if begin else "") + word[begin : begin + length]
                spared[piece] += counts[word] * (length - 1)
    best = sorted(spared, key=lambda piece: (-spared[piece], piece))
    known = dict.fromkeys([PAD, UNKNOWN, *special, *ranked[:whole], *alphabet, *inside, *best])
    return list(known)[:size]
