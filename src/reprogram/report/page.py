"""The page: its sections in order, in one file that needs no other."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files as package_files
from pathlib import Path

from reprogram.program import Program
from reprogram.report import made, samples, sections
from reprogram.report.content import predict, read_files
from reprogram.report.html import Markup, tag, without_folders
from reprogram.tasks.base import Task

Section = tuple[str, Markup | None, str]  # its title, what it shows, and why it shows nothing


def render(
    run: str | Path,
    program: Program | None = None,
    task: Task | None = None,
    *,
    missing: Iterable[str] = (),
) -> str:
    """A run as one HTML page, with every picture in it and no script.

    The same run gives the same page. Absolute paths are left out: a page is passed on.

    Arguments:
        run: The run's directory, or a saved program's.
        program: The same, loaded; without it the page holds what the files tell.
        task: What it was fitted to; without it no sample is predicted.
        missing: Why the program or the task is not given, a sentence each.

    Raises:
        UserError: if the folder holds no program, or a damaged one.

    Example:
        >>> import tempfile, reprogram
        >>> source, task = reprogram.load_source("zoo:images"), reprogram.load_task("digits")
        >>> training = reprogram.recipes.ar(source, task, epochs=1)
        >>> training.bind(task.spec)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     page = render(training.program(task.spec).save(folder))
        >>> page[:15], "zoo:images" in page
        ('<!doctype html>', True)
    """
    files = read_files(Path(run))
    parts: list[Section] = [
        ("Results", sections.results(files), "the program was not measured."),
        ("Training", sections.curves(files), "there is no history of epochs."),
    ]
    if program is None:
        shows = "Pattern, inputs, class map and confusion matrix"
        parts.append((shows, None, "the program could not be loaded."))
    else:
        parts += _of_program(program, task)
    record = files.record
    title = f"{without_folders(record.task.get('name'))} on {without_folders(record.source.uri)}"
    absent = [*files.missing, *missing]
    notes = tag("ul", *(tag("li", without_folders(note)) for note in absent), class_="missing")
    body = [
        tag("header", tag("p", "reprogram · report of a run", class_="quiet"), tag("h1", title)),
        tag("section", tag("h2", "Missing"), notes) if absent else None,
        tag("section", sections.head(files)),
        *(_section(*part) for part in parts),
    ]
    return _document(title, body)


def _of_program(program: Program, task: Task | None) -> list[Section]:
    """What needs the program, and what needs its task too."""
    shown = samples.pattern(program)
    parts: list[Section] = [
        ("Pattern", tag("div", *shown, class_="side") if shown else None,
         "this transformation trains nothing that has a picture."),
    ]  # fmt: skip
    if program.task.target in ("image", "cells"):
        return [*parts, *_made(program, task)]
    one = program.task.target == "classes"
    predicted = predict(program, task) if task is not None and one else None
    why = "the task could not be loaded." if task is None else "the task has no labelled row."
    if not one:
        why = f"the task asks for {program.task.target}, not for one class a sample."
    seen = confused = None
    if predicted is not None:
        seen = samples.samples(program, predicted)
        confused = sections.mistakes(predicted, program.task.classes)
    name = type(program.mapping).__name__
    return [
        *parts,
        ("Inputs", seen, why),
        ("Source classes for target classes", sections.class_map(program),
         f"the mapping {name} does not tell one."),
        ("Confusion matrix", confused, why),
    ]  # fmt: skip


def _made(program: Program, task: Task | None) -> list[Section]:
    """What a program makes, of one that makes images or runs an automaton."""
    gone = "the task could not be loaded."
    if task is None:
        return [("Made", None, gone)]
    judged = program.source.output.kind == "image"
    drawn = made.images(program, task) if judged else None
    return [
        ("Images", drawn, "the source is no generator."),
        ("Runs", made.run(program, task), "the source has no steps."),
    ]


def _section(title: str, shown: Markup | None, why: str) -> Markup:
    told = tag("p", f"Not shown: {why}", class_="quiet")
    return tag("section", tag("h2", title), told if shown is None else shown)


def _document(title: str, body: Iterable[Markup | None]) -> str:
    style = (package_files("reprogram") / "report" / "style.css").read_text()
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Markup(style)),
    )
    page = tag("html", head, tag("body", tag("main", *body)), lang="en")
    return f"<!doctype html>\n{page}\n"
