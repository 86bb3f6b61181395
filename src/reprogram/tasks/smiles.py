"""Molecules written as SMILES: parsed, compared, split by their scaffolds. RDKit does it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reprogram.types import UserError


def molecule(smiles: str) -> Any | None:
    """RDKit's molecule; ``None`` where it cannot be parsed.

    Example:
        >>> molecule("CCO").GetNumAtoms(), molecule("CC(O")
        (3, None)
    """
    chem = _chem()
    with _quiet():
        return chem.MolFromSmiles(smiles.strip())


def molecules(smiles: Sequence[str]) -> list[Any | None]:
    """The same of many."""
    chem = _chem()
    with _quiet():
        return [chem.MolFromSmiles(text.strip()) for text in smiles]


def check_smiles(smiles: Sequence[str], rows: Sequence[str]) -> None:
    """Refuse what is no molecule.

    Raises:
        UserError: naming the row of the first.

    Example:
        >>> check_smiles(["CCO", "C1CC"], ["x.csv:2", "x.csv:3"])
        Traceback (most recent call last):
        reprogram.types.UserError: row x.csv:3 holds 'C1CC', which is no valid SMILES; ...
    """
    for row, text, found in zip(rows, smiles, molecules(smiles), strict=True):
        if found is None or not found.GetNumAtoms():
            shown = text if len(text) <= 60 else f"{text[:57]}..."
            raise UserError(f"row {row} holds {shown!r}, which is no valid SMILES; correct it, or "
                            "remove the row")  # fmt: skip


def canonical(found: Any) -> str:
    """One way to write a molecule, whichever way it came.

    Example:
        >>> canonical(molecule("OCC")) == canonical(molecule("C(O)C"))
        True
    """
    return _chem().MolToSmiles(found)


def scaffold(found: Any) -> str:
    """Rings and what links them, without side chains and chirality; empty without rings.

    References:
        Bemis & Murcko, The Properties of Known Drugs: 1. Molecular Frameworks, 1996.

    Example:
        >>> scaffold(molecule("CCc1ccccc1"))
        'c1ccccc1'
    """
    _chem()
    from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles

    return MurckoScaffoldSmiles(mol=found, includeChirality=False)


def scaffold_split(
    scaffolds: Sequence[str], *, train: float = 0.8, validation: float = 0.1
) -> list[str]:
    """``train``, ``validation`` or ``test`` for each molecule; one scaffold is on one side.

    As in MoleculeNet and DeepChem: scaffolds from the commonest to the rarest (the later first
    among equally common ones) go to train while they fit into its share, then to validation, else
    to test, so that test holds the unusual ones. Nothing is drawn.

    Arguments:
        scaffolds: One a molecule.
        train: Share of train.
        validation: Share of validation.

    References:
        Wu et al., MoleculeNet: A Benchmark for Molecular Machine Learning, 2018 (arXiv:1703.00564).

    Example:
        >>> scaffold_split(["a", "a", "a", "b", "c"], train=0.6, validation=0.2)
        ['train', 'train', 'train', 'test', 'validation']
    """
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(scaffolds):
        groups.setdefault(name, []).append(i)
    parts = ["test"] * len(scaffolds)
    room = {"train": train * len(parts), "validation": (train + validation) * len(parts)}
    placed = {"train": 0, "validation": 0}
    for group in sorted(groups.values(), key=lambda g: (len(g), g[0]), reverse=True):
        if placed["train"] + len(group) <= room["train"]:
            part = "train"
        elif sum(placed.values()) + len(group) <= room["validation"]:
            part = "validation"
        else:
            continue
        placed[part] += len(group)
        for i in group:
            parts[i] = part
    return parts


def _chem() -> Any:
    try:
        from rdkit import Chem
    except ImportError as error:
        raise UserError("molecules need RDKit, which is not installed: "
                        "pip install 'reprogram[chem]'") from error  # fmt: skip
    return Chem


def _quiet() -> Any:
    """RDKit does not write about what it cannot parse."""
    from rdkit.rdBase import BlockLogs

    return BlockLogs()
