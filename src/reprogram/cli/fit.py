"""``reprogram fit``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from reprogram.cli import options, runs


def fit(
    recipe: Annotated[
        str | None, typer.Option("--recipe", metavar="NAME", help="See reprogram list recipes.")
    ] = None,
    source: options.Source = None,
    access: options.Access = None,
    adapter: options.Adapter = None,
    task: Annotated[
        str | None,
        typer.Option("--task", metavar="TASK", help="See reprogram list tasks; or your own file."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="The run directory.", show_default="runs/TASK"),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A parameter of the recipe; repeatable."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", help="Passes over the training split.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", help="Samples in a step.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="Of the optimiser.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A short run that shows whether it works, no more.")
    ] = False,
    seed: options.Seed = None,
    device: options.Device = None,
    label: options.Label = None,
    budget: Annotated[
        int | None,
        typer.Option("--budget", min=0, help="Most queries to spend, measuring included."),
    ] = None,
    price: Annotated[
        float | None,
        typer.Option("--price", min=0, help="Of a thousand queries.", show_default="the adapter's"),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache",
            metavar="FILE",
            help="Keep a black box's answers here, for other runs too.",
            show_default="with the checkpoint, until the run is done",
        ),
    ] = None,
    controls: Annotated[
        bool,
        typer.Option("--controls", help="Compute the controls too: it takes about as long again."),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the unfinished run in --out.")
    ] = False,
    checkpoint_seconds: Annotated[
        float, typer.Option("--checkpoint-seconds", min=0, help="Time between checkpoints.")
    ] = 10.0,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Fit a program: train transformation and mapping around a frozen source.

    `--resume --out DIR` alone goes on with an interrupted run to the same result.
    """
    del debug  # read where errors are told
    from reprogram import recipes
    from reprogram.cli.parameters import accepted, check, parse
    from reprogram.cli.running import Order, carry_out, summary
    from reprogram.tasks.options import GENERAL, limited
    from reprogram.types import UserError

    before = runs.read_record(out) if resume and out is not None else None
    if source is not None:
        source = runs.source_uri(source, access, adapter)
    elif access is not None or adapter is not None:
        raise UserError("--access and --adapter say how to reach --source, which is missing")
    named = recipe or (before or {}).get("recipe")
    short = recipes.quickly(recipes.find(named)) if quick and named else {}
    rows = {name: short.pop(name) for name in GENERAL if name in short}
    task = limited(task, **rows) if task else None
    given: dict[str, Any] = {"recipe": recipe, "source": source, "task": task, "label": label}
    given = {name: value for name, value in given.items() if value is not None}
    order = {**(before or {}), **given}
    missing = [f"--{name}" for name in ("recipe", "source", "task") if name not in order]
    if resume and out is None:
        missing = ["--out"]
    if missing:
        found = f"; {out} holds no run to resume" if resume and out is not None else ""
        raise UserError(f"{' and '.join(missing)} is missing{found}; see reprogram fit --help")
    for name, value in given.items():
        if before is not None and before.get(name) != value:
            raise UserError(
                f"argument {name!r} is {value!r}; the run in {out} has {before.get(name)!r}: "
                "leave it out to resume, or choose another folder"
            )

    found = recipes.find(order["recipe"])
    shortcuts = {
        "epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "seed": seed,
        "device": device,
    }  # fmt: skip
    numbers = parse(settings or [], found, order["recipe"])
    for name, value in shortcuts.items():
        if value is None:
            continue
        check(name, accepted(found), order["recipe"])
        if name in numbers:
            raise UserError(f"parameter {name!r} is given twice, by its option and --set")
        numbers[name] = value
    order["numbers"] = {**order.get("numbers", {}), **short, **numbers}
    order["controls"] = controls or order.get("controls", False)
    account = {"budget": budget, "price": price, "cache": cache and str(cache)}
    order |= {name: value for name, value in account.items() if value is not None}

    place = out or runs.fresh(Path("runs") / runs.slug(order["task"]))
    done = carry_out(Order(**order), place, resume=resume, checkpoint_seconds=checkpoint_seconds)
    if as_json:
        print(json.dumps(done.metrics))
        return
    asked = Path(order["task"]).expanduser()
    words: list[str | Path] = [asked] if asked.is_file() else ["FILE..."]
    if done.program.task.target == "image":
        words = ["all", "--out", place.with_name(f"{place.name}.png")]
    print(summary(done, runs.command("predict", place, *words)))
