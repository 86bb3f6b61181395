"""The parts of the page, from what was asked for to what was mistaken for what."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from reprogram.program import Program
from reprogram.report import svg
from reprogram.report.content import Files, Predicted
from reprogram.report.html import Markup, figure, join, number, short, table, tag, without_folders
from reprogram.report.pictures import heat
from reprogram.tasks.metrics import HEADLINES, headline
from reprogram.types import InputSpec, TaskSpec

SPLITS = ("train", "validation", "test")
TOP = 5  # source classes told for each target class
CELLS = 24  # classes up to which a confusion matrix shows its counts
ROWS = 60  # of a long table


def head(files: Files) -> Markup:
    """What was trained, on what, when."""
    record, metrics = files.record, files.metrics
    task = TaskSpec.from_json(record.task)
    source = InputSpec.from_json(record.source.input)
    trained = [
        f"{number(metrics[key])} {unit}"
        for key, unit in (("parameters", "parameters"), ("program_bytes", "bytes"))
        if isinstance(metrics.get(key), int)
    ]
    unchanged = metrics.get("source_unchanged")
    facts = {
        "task": f"{without_folders(task.name)}: {_described(task.input)}, "
        f"{len(task.classes)} classes",
        "source": f"{without_folders(record.source.uri or 'given in Python')}: "
        f"{_described(source)}; {_outputs(record.source.output)}",
        "source unchanged": number(unchanged) if isinstance(unchanged, bool) else None,
        "fingerprint": tag("code", record.source.fingerprint[:16]),
        "recipe": record.recipe or "composed in Python",
        "transformation": tag("code", part(record.transformation)),
        "mapping": tag("code", part(record.mapping)),
        "trained": ", ".join(trained) or None,
        "read": _read(metrics.get("read")),
        "queries": number(metrics["queries"]) if "queries" in metrics else None,
        "time": f"{metrics['seconds']:,.1f} s" if "seconds" in metrics else None,
        "seed": record.seed,
        "date": _date(record.date),
        "version": f"reprogram {record.library_version}, program format {record.format_version}",
    }
    told = {name: fact for name, fact in facts.items() if fact is not None}
    numbers = [(name, tag("code", _plain(value))) for name, value in record.parameters.items()]
    asked = tag("details", tag("summary", "every parameter of the recipe"), table([], numbers))
    return join([terms(told), asked if numbers else None])


def terms(told: Mapping[str, object], **attributes: object) -> Markup:
    """Names with what is told of each."""
    pairs = (tag("div", tag("dt", name), tag("dd", fact)) for name, fact in told.items())
    return tag("dl", *pairs, **attributes)


def results(files: Files) -> Markup | None:
    """Metrics by split, and how the controls fare."""
    metrics = files.metrics
    splits = [name for name in SPLITS if _numbers(metrics.get(name))]
    if not splits:
        return None
    names = list(dict.fromkeys(key for split in splits for key in _numbers(metrics[split])))
    rows = [
        [_spaced(name), *(number(_numbers(metrics[split]).get(name, "")) for split in splits)]
        for name in names
    ]
    shown = [table(["", *splits], rows)]
    measured = _numbers(metrics[splits[-1]])
    name = headline(measured)
    if name in HEADLINES:
        this = f"this program, {splits[-1]}"
        compared = {this: measured[name]}
        compared |= {_spaced(k): v for k, v in _numbers(metrics.get("controls")).items()}
        title = f"{name[0].upper()}{name[1:]}"
        caption = f"{title} beside the controls, measured on test." if len(compared) > 1 else (
            f"{title}; no control was computed: give fit --controls."
        )  # fmt: skip
        error = name == "mse"
        unit = "lower is better" if error else "as a fraction"
        full = (max(compared.values()) or 1.0) if error else 1.0
        bars = svg.bars(compared, f"{name}, {unit}", strong=this, full=full)
        shown.append(figure(bars, caption))
    return tag("div", *shown, class_="side")


def curves(files: Files) -> Markup | None:
    """Loss and accuracy by epoch."""
    history = [row for row in files.history if "epoch" in row]
    drawn: list[Markup] = []
    losses = {"training": "loss", "validation": "validation_loss"}
    best = min(
        (row for row in history if "validation_loss" in row),
        key=lambda row: row["validation_loss"], default=None,
    )  # fmt: skip
    mark = best["epoch"] if best is not None else None
    accuracies = {"validation": "validation_accuracy", "training": "accuracy"}
    for told, columns in (("loss", losses), ("accuracy", accuracies)):
        found = {
            name: [(row["epoch"], row[column]) for row in history if column in row]
            for name, column in columns.items()
        }
        found = {name: points for name, points in found.items() if points}
        if found:
            drawn.append(
                figure(svg.chart(found, told, mark=mark), f"{told.capitalize()} by epoch.")
            )
    paid = [(row["queries"], row["validation_accuracy"]) for row in history
            if {"queries", "validation_accuracy"} <= row.keys()]  # fmt: skip
    if len(paid) > 1 and "train" not in files.metrics:  # of a source that can only be called
        chart = svg.chart({"validation": paid}, "accuracy", along="queries")
        drawn.append(figure(chart, "Accuracy by queries spent."))
    if not drawn:
        return None
    least = f"The dotted line is the epoch of the lowest validation loss, {mark:g}." if mark else ""
    return join([tag("div", *drawn, class_="side"), tag("p", least, class_="quiet")])


def class_map(program: Program) -> Markup | None:
    """The source classes that speak for each target class, the strongest first."""
    weights = getattr(program.mapping, "table", lambda: None)()
    if weights is None or weights.ndim != 2:
        return None
    weights = weights.detach().float().cpu()
    names = program.source.output.names or tuple(f"class {i}" for i in range(len(weights)))
    signed = bool((weights < 0).any())
    if signed:  # what all target classes share changes no prediction
        weights = weights - weights.mean(1, keepdim=True)
    strongest = float(weights.abs().max()) or 1.0
    chips = {
        target: join(_chips(weights[:, t], names, strongest))
        for t, target in enumerate(program.task.classes[:ROWS])
    }
    used = int((weights != 0).any(1).sum())
    told = f"{used} of {len(weights)} source classes have a weight; at most {TOP} are shown for "
    told += "each target class, with their weights, the largest first."
    if signed:
        told += " Each is told less its mean over the target classes, which no softmax sees."
    if len(program.task.classes) > ROWS:
        told += f" The first {ROWS} of {len(program.task.classes)} target classes."
    return join([tag("p", told, class_="quiet"), terms(chips, class_="map")])


def mistakes(predicted: Predicted, classes: tuple[str, ...]) -> Markup:
    """The confusion matrix; of many classes as heat, with the commonest confusions in words."""
    counts = predicted.confusion()
    told = f"{len(predicted.rows)} {predicted.name} samples: a row is a true class, a column what "
    told += "it was taken for; shades are shares of the row."
    if len(classes) <= CELLS:
        return figure(tag("div", svg.confusion(counts, classes), class_="scroll"), told)
    shares = counts / counts.sum(1, keepdim=True).clamp_min(1)
    drawing = heat(shares, "confusion matrix", width=480, bounds=(0.0, 1.0), square=True)
    return join([figure(drawing, told), _commonest(counts, classes)])


def _commonest(counts: Float[Tensor, "true predicted"], classes: tuple[str, ...]) -> Markup:
    off = counts.clone().fill_diagonal_(0).reshape(-1)
    first = off.argsort(descending=True, stable=True)[: 2 * TOP].tolist()
    rows = [
        (classes[i // len(classes)], classes[i % len(classes)], f"{float(off[i]):g}")
        for i in first
        if off[i] > 0
    ]
    return table(["true", "taken for", "times"], rows)


def _chips(
    column: Float[Tensor, " classes"], names: Sequence[str], strongest: float
) -> list[Markup]:
    order = column.argsort(descending=True, stable=True)[:TOP]
    order = order[column[order] != 0]
    chips = []
    for source, weight in zip(order.tolist(), column[order].tolist(), strict=True):
        shade = f"--share:{min(abs(weight) / strongest, 1.0):.2f}"
        label = tag("span", short(weight), class_="weight")
        chips.append(tag("span", names[source], " ", label, class_="chip", style=shade))
    return chips


def part(described: dict[str, Any]) -> str:
    """A part as a reader writes it.

    Example:
        >>> part({"name": "Compose", "arguments": {"parts": [
        ...     {"name": "Resize", "arguments": {"size": 8}}]}})
        'Compose(parts=[Resize(size=8)])'
    """
    arguments = described.get("arguments", {})
    inside = ", ".join(f"{name}={_plain(value)}" for name, value in arguments.items())
    return f"{described.get('name')}({inside})"


def _plain(value: Any) -> str:
    if isinstance(value, dict) and "name" in value:
        return part(value)
    if isinstance(value, list):
        return (
            f"[{', '.join(map(_plain, value))}]" if len(value) <= 12 else f"[{len(value)} values]"
        )
    return repr(without_folders(value) if isinstance(value, str) else value)


def _date(written: str) -> str:
    try:
        return f"{datetime.datetime.fromisoformat(written):%Y-%m-%d %H:%M %Z}"
    except ValueError:
        return written


def _described(spec: InputSpec) -> str:
    if spec.kind == "text":
        return f"{spec.notation or 'text'} of at most {spec.shape[0]} characters"
    told = f"{spec.kind} of {' × '.join(map(str, spec.shape))}"
    if torch.isfinite(torch.tensor([spec.lower, spec.upper])).all():
        told += f", values {short(spec.lower)} to {short(spec.upper)}"
    if spec.rate is not None:
        told += f", {spec.rate:,g} a second"
    return told


def _read(tallies: Any) -> str | None:
    """How texts were read: what was not known, and what was cut.

    Example:
        >>> _read({"test": {"tokens": 900, "unknown": 3, "cut": 0}})
        'test: 900 tokens, 3 unknown, 0 cut'
    """
    if not isinstance(tallies, dict) or not tallies:
        return None
    told = [f"{split}: " + ", ".join(
        f"{number(count)} {'tokens' if key == 'tokens' else key}" for key, count in counts.items()
    ) for split, counts in tallies.items() if isinstance(counts, dict)]  # fmt: skip
    return "; ".join(told)


def _outputs(output: dict[str, Any]) -> str:
    shape = " × ".join(map(str, output.get("shape", [])))
    return f"{shape} {output.get('kind')}"


def _numbers(values: Any) -> dict[str, float]:
    """The numbers of a part of ``metrics.json``."""
    if not isinstance(values, dict):
        return {}
    return {k: v for k, v in values.items() if isinstance(v, float | int)}


def _spaced(name: str) -> str:
    return name.replace("_", " ")
