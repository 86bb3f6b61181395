"""Rows whose output is no label: generators that draw classes, automata led elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from reprogram.grid import Entry, Grid, Table

GAN = "zoo:digits-gan"
JUDGE = "zoo:mnist-lenet"  # took no part: choices were made by zoo:digits, on validation
MEASURES = ("wanted", "intra_fid", "coverage", "recall")
HARM = {"40 % of the labels wrong": "share=0.1&noise=0.4", "two rare classes": "share=0.1&rare=2"}
# about as many steps whatever the share
EPOCHS: Mapping[str, Mapping[str, Any]] = {"0.01": {}, "0.1": {"epochs": 14}, "1.0": {"epochs": 2}}


def _draw(options: str) -> str:
    return f"draw:mnist?{options}&judge={JUDGE}"


def _measured(task: str, recipe: str, kind: str, numbers: Mapping[str, Any]) -> dict[str, Entry]:
    return {name: Entry(GAN, task, recipe, numbers, kind, name) for name in MEASURES}


def _beside(options: str, numbers: Mapping[str, Any]) -> dict[str, dict[str, Entry]]:
    task = _draw(options)
    return {
        "`inrep`": _measured(task, "inrep", "fit", numbers),
        "conditional GAN from scratch": _measured(task, "inrep", "conditional_gan", {}),
        "rejection from the frozen generator": _measured(task, "inrep", "rejection", {}),
        "real images": _measured(task, "inrep", "real", {}),
    }


def _more() -> dict[str, dict[str, Entry]]:
    """At the smallest share: the other recipe, and what carries the first."""
    task, paper = _draw("share=0.01"), {"unlabelled": 1.0, "others": False}
    return {
        "`gan-noise`": _measured(task, "gan-noise", "fit", {}),
        "`inrep`, the paper's loss": _measured(task, "inrep", "fit", paper),
        "`inrep` on a random source": _measured(task, "inrep", "random_source", {}),
    }


GENERATORS = Grid(
    name="generators",
    title=(
        "A GAN of digits made conditional: Lee, Seo, Varshney (2020), and Dinh and others (2022), "
        "arXiv 2201.02692, whose figure on CIFAR-10 with 1 % of the labels (intra-FID 76.24, in "
        "Inception's features) is of other data and features."
    ),
    tables=(
        Table("1% of the labels", _beside("share=0.01", EPOCHS["0.01"])),
        Table("1% of the labels, other programs", _more(), seeds=1),
        *(
            Table(f"{float(share):.0%} of the labels", _beside(f"share={share}", own), seeds=1)
            for share, own in EPOCHS.items()
            if share != "0.01"
        ),
        *(Table(f"10% of the labels, {name}", _beside(options, EPOCHS["0.1"]), seeds=1)
          for name, options in HARM.items()),
    ),
    notes=(
        f"Judged by the public LeNet `{JUDGE}`, which took no part: `wanted` is the share of "
        "images that it reads as the class that was asked for, `intra_fid` the Fréchet distance in "
        "its 84 features within a class, averaged over classes, coverage and recall in the same "
        "features. Its row of real images says what it is worth and how small the distance can be.",
        "`zoo:digits-gan` has seen all training digits, without labels; the conditional GAN and "
        "rejection's reader only the labelled ones.",
        "The conditional GAN from scratch takes 4,000 steps of 64 images, rounded up to whole "
        "epochs: six of all labels. It was not trained to its end.",
        "10,000 images, as many of each class as test has. Precision is left out: mush has it.",
    ),
)  # fmt: skip

_STATE = "zoo:selforg-mnist-ca"
_SAY = "cells:mnist?say=8&limit=160&validation=32&test=64"
_EIGHT: Mapping[str, Any] = {"epochs": 200}
_LIZARD = "zoo:lizard-ca"
_SHORTER: Mapping[str, Any] = {"epochs": 32, "batch_size": 4, "learning_rate": 1e-3}
_RUNS = ("program@1x", "program@2x", "program@10x", "damaged@10x", "larger@10x", "removed@10x")
_TARGETS = {"lizard_no_tail": "tail", "lizard_red": "red"}
_LEFT = ("removed@1x", "removed@2x", "removed@10x")


def _lasting(of: Entry, runs: Sequence[str] = ("untouched@10x", *_RUNS)) -> dict[str, Entry]:
    """Measured once, told in many columns."""
    return {run: replace(of, metric=f"{run} {of.metric}") for run in runs}


_OURS = Entry(_STATE, _SAY, "nca-inject", _EIGHT, "stability", "accuracy")
_THEIRS = Entry(_STATE, _SAY, "nca-inject", {}, "published:eight", "accuracy")


def _of_a_lizard(picture: str, kind: str, metric: str = "mse") -> Entry:
    return Entry(_LIZARD, f"grow:{picture}?test=8", "nca-global", _SHORTER, kind, metric)


def _lizard(picture: str, matrix: str) -> Table:
    rows = {"`nca-global`": "stability", "the published matrix": f"published:{matrix}"}
    return Table(
        f"{picture}: error of the picture by a matrix on the state",
        {name: _lasting(_of_a_lizard(picture, kind)) for name, kind in rows.items()},
        seeds=1,
    )


def _learning(picture: str, matrix: str) -> dict[str, Entry]:
    """Validation on the way, and where the published program stands; its runs have 96 steps."""
    return {
        **{
            f"after {n:,} steps": _of_a_lizard(picture, "stability", f"validated@{n} mse")
            for n in (64, 256, 512, 1024, 2048)
        },
        "published": _of_a_lizard(picture, f"published:{matrix}", "validated mse"),
    }


AUTOMATA = Grid(
    name="automata",
    title=(
        "Neural cellular automata led elsewhere: Randazzo, Mordvintsev, Niklasson, Levin, "
        "Greydanus (2021), Distill, which gives pictures and no table."
    ),
    tables=(
        Table(
            "Digits: share of the other cells that say 8, by 10 % adversaries",
            {"`nca-inject`": _lasting(_OURS), "the published adversary": _lasting(_THEIRS)},
        ),
        Table(
            "Digits: share of the cells that say what they say without a program",
            {
                "`nca-inject`": _lasting(replace(_OURS, metric="like_untouched"), _LEFT),
                "the published adversary": _lasting(
                    replace(_THEIRS, metric="like_untouched"), _LEFT
                ),
            },
        ),
        *(_lizard(picture, matrix) for picture, matrix in _TARGETS.items()),
        Table(
            "Lizards: error on validation while `nca-global` is trained",
            {picture: _learning(picture, matrix) for picture, matrix in _TARGETS.items()},
            seeds=1,
        ),
    ),
    notes=(
        "A run of training is `1x`: 20 steps of digits, 96 of the lizard. `damaged` loses a circle "
        "after 1x, `removed` its program; `larger` runs on a grid half as large again, over "
        "which its error is averaged, too; `untouched` is the automaton alone.",
        "A lizard's error is that of its four visible channels; an automaton that grows no picture "
        "any more, or one beyond bounds, shows in it after 10x.",
        "The published programs took up to 100,000 steps (cells) and 8,000 (matrices) of training; "
        "ours 2,000 and 2,048 (in batches of 4, not 8), from the published sources.",
    ),
)  # fmt: skip
