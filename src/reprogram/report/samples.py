"""Samples and patterns drawn by what they are: images, waveforms, features, series, tables."""

from __future__ import annotations

import torch
from torch import Tensor

from reprogram.program import Program
from reprogram.report.content import Predicted, choose
from reprogram.report.html import Markup, figure, join, short, tag
from reprogram.report.pictures import drawn_bounds, extent, heat, image
from reprogram.report.svg import line
from reprogram.texts import decode
from reprogram.transformations import Transformation
from reprogram.types import InputSpec, Tokens

WIDE = 480  # a pattern's width on the page, in pixels
UNITS = {"waveform": "sample values over the window", "features": "bands over frames"}


def draw(x: Tensor, spec: InputSpec, bounds: tuple[float, float], told: str) -> Markup:
    """One sample by its kind; what has no picture is described by its shape.

    Arguments:
        x: A sample of that specification.
        spec: What it is.
        bounds: Values at the two ends of the scale.
        told: What is seen, for readers who do not see it.
    """
    if spec.kind == "text":
        return tag("p", short_text(decode(x[None])[0]), class_="text", title=told)
    if spec.kind == "image" and x.ndim == 3:
        return image(x, *bounds, told)
    if spec.kind in ("waveform", "table") and x.ndim == 1:
        return line(x[None], bounds, told)
    if spec.kind == "series" and x.ndim == 2:
        return line(x, bounds, told)
    if spec.kind in ("features", "embeddings") and x.ndim == 2:
        return heat(x.T.flip(0), told, bounds=bounds)  # time from left to right, low bands below
    shape = " × ".join(map(str, x.shape))
    return tag("p", f"{spec.kind} of {shape}: no picture", class_="quiet")


@torch.no_grad()
def samples(program: Program, predicted: Predicted) -> Markup:
    """Ten inputs, each beside what the source sees of it, with the truth and the answer."""
    chosen = choose(predicted.rows.targets, predicted.right, seed=program.seed)
    inputs = predicted.rows.batch(torch.tensor(chosen))[0]
    seen, words = _transformed(program, inputs)
    target, source = program.task.input, program.source.input
    if target.means:  # a table: each column in its own deviations
        inputs = ((inputs - torch.tensor(target.means)) / torch.tensor(target.stds)).clamp(-4, 4)
    given_scale, seen_scale = _scale(inputs, target), _scale(seen, source)
    cards = []
    for i, row in enumerate(chosen):
        name = program.task.classes[int(predicted.rows.targets[row])]
        pair = tag(
            "div",
            draw(inputs[i], target, given_scale, f"input of class {name}"),
            join(
                [
                    draw(seen[i], source, seen_scale, "the same as the source sees it"),
                    tag("p", words[i], class_="quiet") if words else None,
                ]
            ),
            class_="pair",
        )
        cards.append(figure(pair, _answer(program, predicted, row), class_="card"))
    wide = source.kind != "image" or target.kind != "image"
    told = _caption(program, predicted, chosen, seen_scale)
    grid = tag("div", *cards, class_="cards wide" if wide else "cards")
    return join([tag("p", told, class_="quiet"), grid])


def _answer(program: Program, predicted: Predicted, row: int) -> Markup:
    """The true class, the predicted one and its probability."""
    classes, best = program.task.classes, int(predicted.best[row])
    mark, class_ = ("✓", "right") if predicted.right[row] else ("✗", "wrong")
    said = tag("span", f"{mark} {classes[best]}", class_=class_)
    share = tag("span", f" {float(predicted.scores[row, best]):.2f}", class_="quiet")
    return join([tag("b", classes[int(predicted.rows.targets[row])]), " → ", said, share])


def _caption(
    program: Program, predicted: Predicted, chosen: list[int], scale: tuple[float, float]
) -> str:
    """What the pairs show, and by which rule they were chosen."""
    wrong = sum(not bool(predicted.right[i]) for i in chosen)
    given, seen = program.task.input.kind, program.source.input.kind
    told = (
        f"{len(chosen)} of {len(predicted.rows)} {predicted.name} samples, {wrong} of them "
        f"predicted wrongly, drawn under seed {program.seed} over as many classes as fit. Left: "
        f"the target's {given}{', its columns standardised' if program.task.input.means else ''}. "
        f"Right: the {seen} that the source sees, on one scale from "
        f"{short(scale[0])} to {short(scale[1])}"
    )
    if seen == "features" and scale[0] < 0 < scale[1]:
        told += ", blue below zero and red above"
    if program.source.lexicon is not None and seen == "embeddings":
        told += ", and the source's own token that is nearest at each place"
    return f"{told}. Below: the true class, the predicted one and its probability."


@torch.no_grad()
def pattern(program: Program) -> list[Markup]:
    """The program's pattern in the source's natural units; one figure, or several, or none."""
    spec = program.source.input
    drawn = _picture(program.transformation)
    if drawn is not None and drawn.ndim == 3:
        return _image_pattern(drawn, spec)
    if spec.kind in ("waveform", "features"):
        added = _added(program)
        if added is not None:
            return [_signal_pattern(added, spec)]
    return _weights(program.transformation)


def _image_pattern(drawn: Tensor, spec: InputSpec) -> list[Markup]:
    bounds, (least, most) = drawn_bounds(drawn, spec.lower, spec.upper), extent(drawn)
    within = f"the source's bounds are {short(spec.lower)} to {short(spec.upper)}"
    told = f"Black is {short(bounds[0])}, full {short(bounds[1])}; {within}. "
    told += f"The pattern's values go from {short(least)} to {short(most)}."
    figures = [figure(image(drawn, *bounds, "the pattern", width=224), told)]
    if 0 < most - least < (bounds[1] - bounds[0]) / 2:
        if least < 0:  # zero stays the middle grey
            least, most = -max(-least, most), max(-least, most)
        told = f"The same, stretched: black is {short(least)}, full {short(most)}."
        figures.append(figure(image(drawn, least, most, "the pattern, stretched", width=224), told))
    return figures


def _signal_pattern(added: Tensor, spec: InputSpec) -> Markup:
    least, most = extent(added)
    told = (
        f"What is added to a flat series, {UNITS[spec.kind]}: {short(least)} to {short(most)}; "
        f"the source's bounds are {short(spec.lower)} to {short(spec.upper)}."
    )
    if spec.rate is not None and spec.kind == "waveform":
        told += f" The window lasts {short(len(added) / spec.rate)} s."
    if added.ndim == 1:
        most = max(abs(least), abs(most))
        return figure(line(added[None], (-most, most), "the pattern", width=720, height=150), told)
    return figure(heat(added.T.flip(0), "the pattern", width=WIDE), told)


def _added(program: Program) -> Tensor | None:
    """What the transformation adds to a flat series, where it adds; ``None`` where it rewrites."""
    transformation, spec = program.transformation.eval(), program.task.input
    flat = torch.full((1, *spec.shape), spec.mean, device=program.device)
    prepared = transformation.prepare(flat)
    written = transformation(prepared)
    additive = isinstance(getattr(transformation, "pattern", None), Tensor)
    if not additive or prepared.shape != written.shape or written.ndim not in (2, 3):
        return None
    return (written - prepared)[0]


def _weights(transformation: Transformation) -> list[Markup]:
    """Each trained array as a heat map: outputs down, what they read across."""
    figures = []
    for name, value in transformation.named_parameters():
        if value.ndim < 2 or value.numel() > 2**18:
            continue
        flat = value.reshape(len(value), -1)
        least, most = extent(flat)
        told = f"Trained array {name}, {' × '.join(map(str, value.shape))}: {short(least)} to "
        told += f"{short(most)}; blue is negative, red positive."
        figures.append(figure(heat(flat, f"trained array {name}", width=WIDE), told))
    return figures


def _picture(transformation: Transformation) -> Tensor | None:
    """The pattern as an image, from the transformation or the last of its parts that has one."""
    for part in [transformation, *reversed(list(getattr(transformation, "parts", [])))]:
        picture = getattr(part, "picture", None)
        drawn = picture() if picture is not None else None
        if drawn is not None:
            return drawn
    return None


def _transformed(program: Program, inputs: Tensor) -> tuple[Tensor, list[str]]:
    """(batch, *source.input.shape): what the source sees of target samples; its nearest words."""
    transformation = program.transformation.eval()
    seen = transformation(transformation.prepare(inputs.to(program.device)))
    if isinstance(seen, Tensor):
        return seen.detach().float().cpu(), []
    return seen.values.detach().float().cpu(), _words(program, seen)


def _words(program: Program, seen: Tokens) -> list[str]:
    """The source's token at each place of each sample, or the one whose embedding is nearest."""
    lexicon = program.source.lexicon
    if lexicon is None or lexicon.tokenizer is None:
        return []
    ids = seen.values  # (batch, length)
    if ids.ndim == 3:
        table = torch.nn.functional.normalize(lexicon.embeddings.float(), dim=1)
        ids = (seen.values.float() @ table.T).argmax(2)
    kept = [row[on].long().tolist() for row, on in zip(ids, seen.mask.bool(), strict=True)]
    return [short_text(" ".join(map(lexicon.tokenizer.token, row))) for row in kept]


def short_text(text: str, most: int = 200) -> str:
    """A text's beginning.

    Example:
        >>> short_text("a b c d", 4)
        'a b …'
    """
    return text if len(text) <= most else f"{text[:most]}…"


def _scale(x: Tensor, spec: InputSpec) -> tuple[float, float]:
    """Bounds to draw samples in: an image's own, for anything else what the samples span."""
    return drawn_bounds(x, spec.lower, spec.upper) if spec.kind == "image" else extent(x)
