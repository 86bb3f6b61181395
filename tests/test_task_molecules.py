"""Molecules: what is no molecule, what is one molecule twice, and which scaffolds go where."""

import pytest

from reprogram import tasks
from reprogram.tasks import molecules as published
from reprogram.tasks.smiles import canonical, molecule, scaffold, scaffold_split
from reprogram.texts import decode
from reprogram.types import UserError

pytest.importorskip("rdkit")
ALKANES = ["C" * n + end for n in range(1, 21) for end in ("", "O", "N")]  # 60, no two alike


def write(path, header, rows):
    path.write_text("\n".join([header, *rows]) + "\n")
    return str(path)


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """The three files, small, in a folder of raw files."""
    (tmp_path / "molecules").mkdir()
    monkeypatch.setenv("REPROGRAM_DATA", str(tmp_path))
    monkeypatch.setattr(published, "SHA256", dict.fromkeys(published.SHA256))
    rings = ["c1ccccc1", "C1CCCCC1", "C1CCC1", "c1ccncc1"]
    smiles = [chain + ring for ring in rings for chain in ALKANES[:15]]
    lines = [f"{i},n,{i % 2},{s}" for i, s in enumerate(smiles)]
    lines += ["60,bad,1,C1CC", "61,twice,0,c1(C)ccccc1", "62,torn,0,c1cc(C)ccn1"]
    write(tmp_path / "molecules/BBBP.csv", "num,name,p_np,smiles", lines)
    cells = [",".join(("", "0", "1")[(i + k) % 3] for k in range(12)) for i in range(len(smiles))]
    lines = [f"{c},T{i},{s}" for i, (c, s) in enumerate(zip(cells, smiles, strict=True))]
    header = ",".join([*published.ASSAYS, "mol_id", "smiles"])
    write(tmp_path / "molecules/tox21.csv", header, lines)
    return smiles


def rows(task):
    return [part for part in (task.train, task.validation, task.test) if part is not None]


@pytest.mark.parametrize("split", ["scaffold", "random"])
def test_what_is_no_molecule_or_torn_or_repeated_is_dropped(raw, split):
    task = tasks.load(f"bbbp?split={split}")
    kept = [text for part in rows(task) for text in decode(part.inputs)]
    assert len(kept) == 59 and set(kept) <= set(raw) and "Cc1ccncc1" not in kept
    told = " ".join(task.notes)
    for note in ("1 SMILES that RDKit", "1 molecules under two labels", "1 repeated molecules"):
        assert note in told
    assert task.spec.input.notation == "smiles" and task.spec.classes == ("no", "yes")
    yes = [row for part in rows(task) for row, y in zip(part.rows, part.targets, strict=True) if y]
    assert all(int(row[5:-1]) % 2 for row in yes)


def test_a_scaffold_is_on_one_side(raw):
    task = tasks.load("bbbp")
    sides = [{scaffold(molecule(text)) for text in decode(part.inputs)} for part in rows(task)]
    assert sum(map(len, sides)) == 4 and len(set().union(*sides)) == 4
    assert tasks.load("bbbp", seed=5).test.rows == task.test.rows


def test_gaps_weigh_nothing(raw):
    task = tasks.load("tox21")
    assert task.spec.target == "labels" and task.spec.classes == published.ASSAYS
    for part in rows(task):
        for row, targets, weights in zip(part.rows, part.targets, part.weights, strict=True):
            i = int(row[6:-1])
            assert weights.tolist() == [float((i + k) % 3 > 0) for k in range(12)]
            assert targets.tolist() == [int((i + k) % 3 == 2) for k in range(12)]
    with pytest.raises(UserError, match="unknown split 'scafold'; did you mean 'scaffold'"):
        tasks.load("tox21?split=scafold")


def deepchem(scaffolds, train=0.8, validation=0.1):
    """The published splitter, as it is written there."""
    sets = {}
    for i, name in enumerate(scaffolds):
        sets.setdefault(name, []).append(i)
    ordered = sorted(sets.values(), key=lambda x: (len(x), x[0]), reverse=True)
    n, first, second, third = len(scaffolds), [], [], []
    for group in ordered:
        if len(first) + len(group) > train * n:
            if len(first) + len(second) + len(group) > (train + validation) * n:
                third += group
            else:
                second += group
        else:
            first += group
    return first, second, third


@pytest.mark.parametrize("modulus", [7, 11, 23])
def test_the_split_is_moleculenets(modulus):
    scaffolds = [str(i * i % modulus) for i in range(200)]
    parts = scaffold_split(scaffolds)
    for part, index in zip(("train", "validation", "test"), deepchem(scaffolds), strict=True):
        assert sorted(index) == [i for i, name in enumerate(parts) if name == part]


def test_canonical_forms_are_one():
    assert len({canonical(molecule(s)) for s in ("OCC", "CCO", "C(O)C")}) == 1
    assert scaffold(molecule("CCO")) == ""


def test_a_users_molecules(tmp_path):
    lines = [f"{s},{i % 2}" for i, s in enumerate(ALKANES)]
    task = tasks.load(write(tmp_path / "x.csv", "canonical_smiles,label", lines))
    assert task.spec.input.notation == "smiles" and task.spec.classes == ("0", "1")
    path = write(tmp_path / "bad.csv", "smiles,label", [*lines, "C1CC,0"])
    with pytest.raises(UserError, match=r"row bad.csv:62 holds 'C1CC', which is no valid SMILES"):
        tasks.load(path)
    with pytest.raises(UserError, match=r"row bad.csv:62 holds 'C1CC'"):
        tasks.read(path, task.spec)
    (tmp_path / "new.txt").write_text("CCO\nCCCCCCCCCCCCCCCCCCCCCCCCCCCCO\n")
    assert len(tasks.read(tmp_path / "new.txt", task.spec)) == 2


SIZES = {"bbbp": (1572, 196, 197), "tox21": (6258, 782, 783), "hiv": (32896, 4112, 4112)}
LONG = {"tox21", "hiv"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in SIZES]
)
def test_published_molecules(name, data_root, monkeypatch):
    monkeypatch.setenv("REPROGRAM_DATA", str(data_root))
    assert tuple(map(len, rows(tasks.load(name)))) == SIZES[name]
