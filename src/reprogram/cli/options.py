"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory, or a saved program.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout, and nothing else.")
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", min=0, max=2**32 - 1, help="Of every random draw.", show_default="0"),
]
Device = Annotated[
    str | None, typer.Option("--device", help="Where to compute, such as cuda.", show_default="cpu")
]
Label = Annotated[
    str | None,
    typer.Option("--label", metavar="COLUMN", help="The label column.", show_default="label"),
]
Source = Annotated[
    str | None,
    typer.Option("--source", metavar="URI", help="See reprogram list sources."),
]
Access = Annotated[
    str | None,
    typer.Option(
        "--access", metavar="LEVEL",
        help="A black box that tells no more: label, topk, topk:3, probabilities or logits.",
    ),
]  # fmt: skip
Adapter = Annotated[
    Path | None,
    typer.Option("--adapter", metavar="FILE", help="How to speak to an http:// source."),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict/--no-strict", help="Whether a source that has changed is an error, or a warning."
    ),
]
