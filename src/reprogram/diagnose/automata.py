"""How long what a program makes of an automaton lasts, and what is left without the program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from reprogram.diagnose.classical import reported_split
from reprogram.draws import forked_rng
from reprogram.evaluation import Prepared, measure
from reprogram.model import Reprogrammed
from reprogram.program import Program
from reprogram.sources.automata import Rollout
from reprogram.sources.automata.published import published_adversary, published_matrix
from reprogram.tasks.base import Split, Task
from reprogram.train import Training
from reprogram.transformations import Inject, StateMatrix, Transformation
from reprogram.transformations.automata import Intervention
from reprogram.transformations.automata.pool import circles
from reprogram.types import Cells, UserError

Sums = dict[str, tuple[float, float]]  # of a measure: its sum, and over how many


@torch.no_grad()
def stability(
    program: Program,
    split: Split,
    *,
    steps: Sequence[int],
    damage: int | None = None,
    remove: int | None = None,
    sizes: Sequence[int] = (),
    batch_size: int = 16,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Measures of runs longer, larger and rougher than those of training, a row each.

    A row tells its ``run``: ``untouched`` (the automaton alone), ``program``, ``damaged`` (of each
    state a circle is erased at a step) or ``removed`` (from a step on the automaton is alone), its
    ``grid`` (height x width), its ``step``, and what was measured. Of cells: ``accuracy``, the
    share of living cells that say what is wanted, the program's own left out; ``majority``, the
    share of samples in which most of them do; ``like_untouched``, the share of cells that say what
    they say in the run of the automaton alone. Of pictures: ``mse`` to what is wanted,
    ``mse_untouched`` to what the automaton alone has come to.

    Arguments:
        program: With a part that intervenes in an automaton.
        split: Samples, such as those of the test split.
        steps: At which is measured, in any order, each 1 or more.
        damage: The step after which a circle is erased.
        remove: The step after which the program is gone.
        sizes: Sides of the grids, in whose middle samples stand; by default the task's own grid.
        batch_size: Samples in a run.
        seed: Of the draws.

    Raises:
        UserError: if the program does not intervene in an automaton, or a number is out of its
            range.
    """
    part = _intervening(program)
    marks = sorted(set(steps))
    for name, value in (("steps", marks[:1]), ("damage", [damage]), ("remove", [remove])):
        if value == [] or (value[0] is not None and value[0] < 1):
            raise UserError(f"argument {name!r} is {list(steps) if name == 'steps' else value[0]}; "
                            "give steps of 1 or more")  # fmt: skip
    runs = {"untouched": (None, 0), "program": (None, None)}
    runs |= {} if damage is None else {"damaged": (damage, None)}
    runs |= {} if remove is None else {"removed": (None, remove)}
    own = max(part.start.shape[1:])
    for size in sizes:
        if size < own:
            raise UserError(f"argument 'sizes' holds {size}; samples have sides of {own}")
    program.model.eval()
    rows: list[dict[str, Any]] = []
    for size in sizes or (None,):
        found: dict[tuple[str, int], list[Sums]] = {}
        for number, index in enumerate(torch.arange(len(split)).split(batch_size)):
            x, target, weight = (part.to(program.device) for part in split.batch(index))
            target, weight = _padded(target, size), _padded(weight, size)
            with forked_rng(seed, number):
                cells = part(part.prepare(x))
                cells = cells.map(lambda part, size=size: _padded(part, size))
                alone: dict[int, Tensor] = {}
                for run, (hurt, gone) in runs.items():
                    for step, state in _run(program, cells, marks, hurt, gone):
                        alone.setdefault(step, state)  # the first run is the automaton's own
                        sums = _measured(program, state, alone[step], cells.mask, target, weight)
                        found.setdefault((run, step), []).append(sums)
        grid = "x".join(map(str, cells.values.shape[2:]))  # pyright: ignore
        rows += [{"run": r, "grid": grid, "step": s} | _means(f) for (r, s), f in found.items()]
    return rows


def untouched(training: Training, task: Task) -> dict[str, float]:
    """Of the automaton alone, from the same starts: what no program has to do with.

    Arguments:
        training: Fresh from a recipe; it is bound here and not trained.
        task: With a test split.

    Raises:
        UserError: if there is no test split, or the recipe starts no automaton.
    """
    test = reported_split(task)
    training.bind(task.spec)
    alone = _Alone(training.transformation)
    model = Reprogrammed(training.source, alone, training.mapping)
    return measure(model, Prepared(alone, test, training.device), 64)


def published(training: Training, task: Task, name: str) -> Program:
    """The program that was published, in place of one that is trained.

    Arguments:
        training: Fresh from ``nca-inject`` or ``nca-global``; it is bound here.
        task: What the program is for.
        name: ``eight``, ``no_tail``, ``red`` or ``red_60`` of adversarial cells; ``head``,
            ``tail``, ``leg``, ``arm``, ``red`` or ``blue`` of a matrix.

    Raises:
        UserError: for another name, or a program of another kind.
    """
    training.bind(task.spec)
    part = training.transformation
    if isinstance(part, Inject):
        part.put(published_adversary(name))
    elif isinstance(part, StateMatrix):
        part.put(published_matrix(name))
    else:
        raise UserError(f"nothing is published of {type(part).__name__}; take nca-inject or "
                        "nca-global")  # fmt: skip
    return training.program(task.spec)


def lasting(program: Program, task: Task, *, rows: int = 64, seed: int = 0) -> dict[str, float]:
    """:func:`stability` as one list of numbers, ``"program@10x accuracy"``.

    A run is as long as those of training (``@1x``), twice and ten times that; ``damaged`` loses a
    circle, and ``removed`` its program, after ``@1x``; ``larger`` is the program on a grid half as
    large again.

    Arguments:
        program: With a part that intervenes in an automaton.
        task: With a test split.
        rows: Of it, at most.
        seed: Of the draws.

    Raises:
        UserError: if the program does not intervene in an automaton, or there is no test split.
    """
    part = _intervening(program)
    runs = [module for module in program.source.modules() if isinstance(module, Rollout)]
    own = part.steps or runs[0].steps
    once = own if isinstance(own, int) else max(own)
    test = reported_split(task)
    test = test.subset(torch.arange(min(rows, len(test))))
    side = max(part.start.shape[1:])
    marks = [once, 2 * once, 10 * once]
    found = stability(program, test, steps=marks, damage=once, remove=once, seed=seed)
    wide = stability(program, test, steps=marks, sizes=[side * 3 // 2], seed=seed)
    found += [{**row, "run": "larger"} for row in wide if row["run"] == "program"]
    return {
        f"{row['run']}@{row['step'] // once}x {name}": value
        for row in found
        for name, value in row.items()
        if name not in ("run", "grid", "step")
    }


class _Alone(Transformation):
    """Where the runs of another transformation start, without what it does on the way."""

    random = True

    def __init__(self, part: Transformation) -> None:
        super().__init__()
        self.part = part

    def prepare(self, x: Any) -> Any:
        return self.part.prepare(x)

    def forward(self, prepared: Any) -> Cells:
        cells = self.part(prepared)
        if not isinstance(cells, Cells):
            raise _none(self.part)
        return cells._replace(intervene=None)


def _intervening(program: Program) -> Intervention:
    """What the program does to an automaton."""
    if not isinstance(program.transformation, Intervention):
        raise _none(program.transformation)
    return program.transformation


def _none(part: Transformation) -> UserError:
    return UserError("this is measured of programs that intervene in an automaton; "
                     f"{type(part).__name__} does not")  # fmt: skip


def _means(found: list[Sums]) -> dict[str, float]:
    """Of all batches."""
    return {
        name: sum(sums[name][0] for sums in found) / max(sum(sums[name][1] for sums in found), 1)
        for name in found[0]
    }


def _run(
    program: Program, cells: Cells, marks: Sequence[int], hurt: int | None, gone: int | None
) -> Iterator[tuple[int, Tensor]]:
    """The states at the marks; a circle is erased at one step, the program ends at another."""
    start, state, at = _intervening(program).start, cells.values, 0
    stops = {step for step in (hurt, gone) if step is not None and 0 < step < marks[-1]}
    for step in sorted({*marks, *stops}):
        intervene = cells.intervene if gone is None or at < gone else None
        state = program.source(Cells(state, cells.mask, step - at, intervene))
        at = step
        if step in marks:
            yield step, state
        if step == hurt:
            holes = circles(len(state), *state.shape[2:]).to(state.device)
            state = start.held(state.masked_fill(holes, 0), state)


def _measured(
    program: Program,
    state: Tensor,
    alone: Tensor,
    mask: Tensor | None,
    target: Tensor,
    weight: Tensor,
) -> Sums:
    """A state beside that of the automaton alone."""
    told, before, n = program.mapping(state), program.mapping(alone), len(state)
    if told.ndim == target.ndim:
        return {
            "mse": (float((told - target).square().mean()) * n, n),
            "mse_untouched": (float((told - before).square().mean()) * n, n),
        }
    if mask is not None:
        weight = weight * ~mask[:, 0]
    says, said, cells = told.argmax(-1), before.argmax(-1), float(weight.sum())
    counts = (F.one_hot(c, told.shape[-1]) * weight[..., None] for c in (says, target))
    most, wanted = (count.sum((1, 2)).argmax(1) for count in counts)  # (batch,)
    return {
        "accuracy": (float(((says == target) * weight).sum()), cells),
        "majority": (float((most == wanted).sum()), n),
        "like_untouched": (float(((says == said) * weight).sum()), cells),
    }


def _padded(part: Tensor, size: int | None) -> Tensor:
    """In the middle of a larger grid, zeros around it; what is no grid stays as it is."""
    if size is None or part.ndim < 3:
        return part
    height, width = part.shape[-2:]
    top, left = (size - height) // 2, (size - width) // 2
    return F.pad(part, (left, size - width - left, top, size - height - top))
