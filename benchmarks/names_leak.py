"""How much of the validation rows of Names stands in train: as published, and here.

    python benchmarks/names_leak.py [--seed 0]

The code published with Neekhara et al. (2019, arXiv:1809.01829) appends a name once for each of its
bytes, shuffles, and cuts 80 to 20; train and validation are two such constructions, each with a
shuffle of its own. Prints the rows of either side and the share of validation rows whose name and
nationality are in train; then the same of the task `names`, where no name is on two sides.
"""

from __future__ import annotations

import argparse
import random

import reprogram
from reprogram import texts
from reprogram.tasks import Split
from reprogram.tasks.names import FIVE, SHA256, read_names

SHARE = 0.8  # of train, as published


def construction(nationalities: tuple[str, ...], order: random.Random) -> list[tuple[str, str]]:
    """Each (name, nationality) as often as the name has bytes, shuffled."""
    rows = [
        (name, nationality)
        for nationality in nationalities
        for name in read_names(nationality)
        for _ in name.encode()
    ]
    order.shuffle(rows)
    return rows


def published(nationalities: tuple[str, ...], seed: int) -> tuple[int, int, float]:
    """Rows of train, of validation, and the share of these that are in train."""
    order = random.Random(seed)
    first, second = (construction(nationalities, order) for _ in range(2))
    cut = int(SHARE * len(first))
    return cut, len(first) - cut, share(first[:cut], second[cut:])


def share(train: list, held: list) -> float:
    """Of the rows that are in train."""
    known = set(train)
    return sum(row in known for row in held) / len(held)


def names(split: Split) -> list[str]:
    """Of a split, whatever their nationality."""
    return texts.decode(split.inputs)


def main() -> None:
    """Print the shares."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="of the shuffles and the cuts")
    seed = parser.parse_args().seed
    for nationalities in (FIVE, tuple(SHA256)):
        train, held, leaked = published(nationalities, seed)
        count = len(nationalities)
        print(f"{count:2} nationalities, as published: train {train}, validation {held}, "
              f"{100 * leaked:.2f} % of them in train")  # fmt: skip
        task = reprogram.load_task(f"names?classes={count}", seed=seed)
        held = names(task.validation) + names(task.test)
        leaked = share(names(task.train), held)
        print(f"{count:2} nationalities, task names: train {len(task.train)}, validation and test "
              f"{len(held)}, {100 * leaked:.2f} % of them in train")  # fmt: skip


if __name__ == "__main__":
    main()
