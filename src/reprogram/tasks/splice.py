"""Splice junctions of primate DNA."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from reprogram.files import find_file
from reprogram.tasks.base import Task
from reprogram.tasks.build import Samples, make_task

FILE = "dna/splice.data"
URL = (
    "https://raw.githubusercontent.com/joely-nelson/deep_learning_DNA_CNN/"
    "be2151282fbed7094e011c4e5713ba567699fcd5/splice.data"
)
SHA256 = "ebbae10c85d3c285e2a2489a37e42bc2ee8d91d15005e391a9962fa3389a114f"


def load_splice(*, seed: int = 0) -> Task:
    """DNA around a possible splice junction, 60 nucleotides: an exon ends (EI), begins (IE), or
    neither (N).

    3,190 sequences of the UCI set, of which 185 repeat another; one under two classes is dropped
    with both. The letters D, N, R and S (more than one nucleotide is possible) occur 60 times and
    are kept. Split 64/16/20, stratified and seeded.

    Arguments:
        seed: Of the cuts.

    References:
        Noordewier, Towell & Shavlik, Training Knowledge-Based Neural Networks to Recognize Genes in
        DNA Sequences, 1991.

    Raises:
        UserError: if the file is not here and cannot be downloaded, or is another.
    """
    path = find_file(FILE, url=URL, sha256=SHA256)
    cells = [line.split(",") for line in path.read_text().splitlines() if line.strip()]
    places, classes = {}, defaultdict(set)
    for i, (label, _, sequence) in enumerate(cells):
        places.setdefault(sequence.strip(), i)
        classes[sequence.strip()].add(label.strip())
    kept = {sequence: i for sequence, i in places.items() if len(classes[sequence]) == 1}
    samples = Samples(
        list(kept),
        [cells[i][0] for i in kept.values()],
        [f"splice:{cells[i][1].strip()}" for i in kept.values()],
    )
    task = make_task("splice", "text", samples, notation="sequence", seed=seed)
    notes = (
        f"data: {len(cells) - len(places)} repeated sequences dropped",
        f"data: {len(places) - len(kept)} sequences that stand in two classes dropped",
    )
    return replace(task, notes=(*notes, *task.notes))
