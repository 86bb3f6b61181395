"""The automata of the zoo: two that ship with the library, and the published ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from reprogram.sources.automata.cells import Cell
from reprogram.sources.automata.digit import DigitCell
from reprogram.sources.automata.growing import GrowingCell
from reprogram.sources.automata.published import published_automaton
from reprogram.sources.automata.source import AutomatonSource, automaton_source
from reprogram.sources.weights import fill, shipped


def shipped_automaton(name: str, cell: type[Cell], *, steps: int | None = None) -> AutomatonSource:
    """An automaton of ours, frozen: ``zoo:mnist-ca`` or ``zoo:growing-ca``.

    Arguments:
        name: Of its weights.
        cell: Its rule.
        steps: Of a run, >= 1; by default as many as in its training at most.

    Raises:
        UserError: if ``steps`` is below 1.
    """
    settings, state = shipped(name)
    return automaton_source(
        fill(cell(), state), steps=settings["steps"] if steps is None else steps,
        shape=settings["shape"], uri=f"zoo:{name}{'' if steps is None else f'?steps={steps}'}",
        names=tuple(settings.get("classes", ())),
    )  # fmt: skip


AUTOMATA: dict[str, tuple[Callable[..., AutomatonSource], str]] = {
    "growing-ca": (
        partial(shipped_automaton, "growing-ca", GrowingCell),
        "states of 16 x 32 x 32: cells that grow into a gecko (embedded)",
    ),
    "lizard-ca": (
        partial(published_automaton, "lizard-ca"),
        "states of 16 x 72 x 72: the published cells that grow into a lizard (read from a file)",
    ),
    "mnist-ca": (
        partial(shipped_automaton, "mnist-ca", DigitCell),
        "states of 20 x 28 x 28, 10 classes: cells that agree on a digit (embedded)",
    ),
    "selforg-mnist-ca": (
        partial(published_automaton, "selforg-mnist-ca"),
        "states of 20 x 28 x 28, 10 classes: the published cells of a digit (read from a file)",
    ),
}
"""As :data:`reprogram.sources.zoo.SOURCES`; ``?steps=`` is an option of all."""
