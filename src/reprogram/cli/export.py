"""``reprogram export``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from reprogram.cli import options


def export(
    what: Annotated[
        str, typer.Argument(metavar="SOURCE|RUN", help="See reprogram list sources; or a run.")
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE.onnx|FOLDER", help="Where it shall stand.")],
    random: Annotated[
        bool, typer.Option("--random", help="The control: every weight permuted.")
    ] = False,
    seed: options.Seed = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Write a source as an ONNX file, or a run's program folded into a folder.

    The file is the same model as a black box: `--source onnx:FILE.onnx` takes it from there. A
    folded program says the same and is not trained further; a vocabulary that is combined of
    source tokens becomes a table of as many rows as the target has tokens.
    """
    del debug
    from reprogram.types import UserError

    if seed is not None and not random:
        raise UserError(f"option --seed is {seed}, and nothing is drawn; give --random with it")
    if Path(what).is_dir():
        if random:
            raise UserError(f"option --random is for sources, and {what} is a run; drop it")
        told, line = _program(Path(what), file)
    else:
        told, line = _source(what, file, random, seed or 0)
    print(json.dumps(told) if as_json else line)


def _program(run: Path, folder: Path) -> tuple[dict[str, object], str]:
    from reprogram.program import Program
    from reprogram.record import RECORD
    from reprogram.types import UserError

    if (folder / RECORD).exists():
        raise UserError(f"{folder} holds a program already; choose another folder")
    program = Program.load(run)
    folded = program.folded()
    folded.save(folder)
    told = {"folder": str(folder), "bytes": folded.size, "before": program.size}
    return told, f"{folder}: {folded.size / 1e3:.1f} kB, {program.size / 1e3:.1f} kB before"


def _source(uri: str, file: Path, random: bool, seed: int) -> tuple[dict[str, object], str]:
    from reprogram import sources
    from reprogram.sources.onnx import OnnxSource
    from reprogram.sources.onnx_export import export_onnx, largest_difference

    found = sources.load(uri)
    found = found.randomised(seed) if random else found
    export_onnx(found, file)
    size, apart = file.stat().st_size, largest_difference(found, OnnxSource(file))
    line = f"{file}: {size / 1e6:.2f} MB, {apart:.1g} of the scores' spread apart from {uri}"
    return {"file": str(file), "bytes": size, "difference": apart}, line
