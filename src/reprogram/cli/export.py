"""``reprogram export``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from reprogram.cli import options


def export(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="See reprogram list sources.")],
    file: Annotated[Path, typer.Argument(metavar="FILE.onnx", help="Where it shall stand.")],
    random: Annotated[
        bool, typer.Option("--random", help="The control: every weight permuted.")
    ] = False,
    seed: options.Seed = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Write a source as an ONNX file: the same model as a black box.

    `--source onnx:FILE.onnx` takes it from there.
    """
    del debug
    from reprogram import sources
    from reprogram.sources.onnx import OnnxSource
    from reprogram.sources.onnx_export import export_onnx, largest_difference
    from reprogram.types import UserError

    if seed is not None and not random:
        raise UserError(f"option --seed is {seed}, and nothing is drawn; give --random with it")
    found = sources.load(source)
    found = found.randomised(seed or 0) if random else found
    export_onnx(found, file)
    size, apart = file.stat().st_size, largest_difference(found, OnnxSource(file))
    if as_json:
        print(json.dumps({"file": str(file), "bytes": size, "difference": apart}))
        return
    print(f"{file}: {size / 1e6:.2f} MB, {apart:.1g} of the scores' spread apart from {source}")
