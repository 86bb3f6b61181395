"""Published tasks of small molecules: what passes the blood-brain barrier, HIV, toxicity."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from reprogram.files import find_file
from reprogram.tasks.base import Task
from reprogram.tasks.build import Samples, make_task
from reprogram.tasks.smiles import canonical, molecules, scaffold, scaffold_split
from reprogram.types import UserError, nearest

URL = (
    "https://raw.githubusercontent.com/GLambard/Molecules_Dataset_Collection/"
    "beb35cd0b76db5adef6cb1fa55807e4cd309aaed/originals/"
)
SHA256 = {
    "BBBP.csv": "d07a38487aeac5cee5508413e468043ef3097451d2a112701c2d60be9ec6b662",
    "HIV.csv": "54713c3205055055ea4214e8c4b0d22d93af7e54ad2c48f4edc866e161e57262",
    "tox21.csv": "7d7e7facd853a63e79ddce4e9c3fcb7a0d83a1c300b603031c0f2c64fbe77761",
}
ASSAYS = (
    "NR-AR", "NR-AR-LBD", "NR-AhR", "NR-Aromatase", "NR-ER", "NR-ER-LBD", "NR-PPAR-gamma", "SR-ARE",
    "SR-ATAD5", "SR-HSE", "SR-MMP", "SR-p53",
)  # fmt: skip
SPLITS = ("scaffold", "random")


def load_bbbp(*, split: str = "scaffold", seed: int = 0) -> Task:
    """2,050 molecules, three of four of which pass the blood-brain barrier.

    SMILES as they are published. 11 that RDKit cannot parse are dropped, then those that stand
    under both classes, then repeated ones. Split 80/10/10.

    Arguments:
        split: ``"scaffold"``: by Bemis-Murcko scaffolds, the rare ones in test, nothing drawn; or
            ``"random"``, stratified and seeded.
        seed: Of a random split.

    References:
        Wu et al., MoleculeNet: A Benchmark for Molecular Machine Learning, 2018 (arXiv:1703.00564);
        Martins et al., A Bayesian Approach to in Silico Blood-Brain Barrier Penetration Modeling,
        2012.

    Raises:
        UserError: if RDKit or the file is missing, or ``split`` is another word.
    """
    return _load("bbbp", "BBBP.csv", "p_np", ("no", "yes"), split, seed)


def load_hiv(*, split: str = "scaffold", seed: int = 0) -> Task:
    """41,127 molecules, 1,443 of which inhibit the replication of HIV.

    SMILES as they are published; 7 that RDKit cannot parse are dropped. Split 80/10/10. Finding
    the scaffolds takes half a minute.

    Arguments:
        split: ``"scaffold"``: by Bemis-Murcko scaffolds, the rare ones in test, nothing drawn; or
            ``"random"``, stratified and seeded.
        seed: Of a random split.

    References:
        Wu et al., MoleculeNet: A Benchmark for Molecular Machine Learning, 2018 (arXiv:1703.00564).

    Raises:
        UserError: if RDKit or the file is missing, or ``split`` is another word.
    """
    return _load("hiv", "HIV.csv", "HIV_active", ("inactive", "active"), split, seed)


def load_tox21(*, split: str = "scaffold", seed: int = 0) -> Task:
    """7,831 molecules in 12 assays of toxicity, yes or no to each; 17 % of the cells are gaps.

    SMILES as they are published; 8 that RDKit cannot parse are dropped. Split 80/10/10.

    Arguments:
        split: ``"scaffold"``: by Bemis-Murcko scaffolds, the rare ones in test, nothing drawn; or
            ``"random"``, seeded, stratified by whether any assay says yes.
        seed: Of a random split.

    References:
        Wu et al., MoleculeNet: A Benchmark for Molecular Machine Learning, 2018 (arXiv:1703.00564);
        Huang et al., Tox21Challenge to Build Predictive Models of Nuclear Receptor and Stress
        Response Pathways, 2016.

    Raises:
        UserError: if RDKit or the file is missing, or ``split`` is another word.
    """
    lines = _lines("tox21.csv")
    labels = [tuple(line[assay] for assay in ASSAYS) for line in lines]
    return _task("tox21", lines, labels, split, seed, classes=ASSAYS, target="labels")


def _load(
    name: str, file: str, column: str, classes: tuple[str, str], split: str, seed: int
) -> Task:
    """A task of two classes, written 0 and 1 in a column."""
    lines = _lines(file)
    labels = [classes[int(line[column])] for line in lines]
    return _task(name, lines, labels, split, seed, classes=classes)


def _lines(file: str) -> list[dict[str, str]]:
    path = find_file(f"molecules/{file}", url=URL + file, sha256=SHA256[file])
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def _task(
    name: str, lines: list[dict[str, str]], labels: Sequence[Any], split: str, seed: int,
    **told: Any,
) -> Task:  # fmt: skip
    if split not in SPLITS:
        raise nearest("split", split, SPLITS)
    smiles = [line["smiles"].strip() for line in lines]
    found = molecules(smiles)
    index, notes = _distinct(found, labels)
    samples = Samples(
        [smiles[i] for i in index], [labels[i] for i in index], [f"{name}[{i}]" for i in index]
    )
    told |= {"notation": "smiles", "seed": seed}
    if split == "random":
        task = make_task(name, "text", samples, test_share=0.1, validation_share=1 / 9, **told)
    else:
        parts = scaffold_split([scaffold(found[i]) for i in index])
        samples = samples._replace(splits=parts)
        train, validation, test = (samples.of(part) for part in ("train", "validation", "test"))
        if train is None:
            raise UserError(f"task {name!r} has no rows to train on; replace its file")
        task = make_task(name, "text", train, validation=validation, test=test, **told)
        notes.append("split: 80/10/10 by Bemis-Murcko scaffolds, the commonest in train")
    return replace(task, notes=(*notes, *task.notes))


def _distinct(found: Sequence[Any], labels: Sequence[Any]) -> tuple[list[int], list[str]]:
    """Indices of molecules that are there once under one label, and what became of the rest."""
    written = [None if one is None else canonical(one) for one in found]
    first: dict[str, int] = {}
    for i, text in enumerate(written):
        if text is not None:
            first.setdefault(text, i)
    torn = {text for i, text in enumerate(written)
            if text is not None and labels[i] != labels[first[text]]}  # fmt: skip
    valid = sum(text is not None for text in written)
    notes = []
    if valid < len(found):
        notes.append(f"data: {len(found) - valid} SMILES that RDKit cannot parse dropped")
    if torn:
        notes.append(f"data: {len(torn)} molecules under two labels dropped")
    index = [i for text, i in first.items() if text not in torn]
    repeated = sum(text is not None and text not in torn for text in written) - len(index)
    if repeated:
        notes.append(f"data: {repeated} repeated molecules dropped")
    return index, notes
