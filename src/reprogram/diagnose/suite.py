"""The controls that a run is shown beside, by what its task asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reprogram.diagnose.automata import untouched
from reprogram.diagnose.controls import (
    Metrics,
    linear_probe,
    majority,
    random_source,
    scratch,
)
from reprogram.diagnose.generators import conditional_gan, rejection
from reprogram.diagnose.text import ngrams
from reprogram.recipes import Recipe
from reprogram.sources import Source
from reprogram.tasks.base import Task
from reprogram.tasks.metrics import headline


def controls(
    recipe: Recipe,
    source: Source,
    task: Task,
    *,
    tell: Callable[[str], None] = lambda _: None,
    **numbers: Any,
) -> dict[str, float]:
    """What stands beside a run on test, by the metric that its task is told by.

    Of classes, labels and tokens: majority, linear probe, scratch, n-grams of texts. Of images of
    classes: a conditional GAN from scratch, rejection. Of what an automaton comes to: the automaton
    alone. Of all of them the recipe on a random source.

    Arguments:
        recipe: The recipe under control.
        source: Its source; one whose weights cannot be seen has no random control.
        task: With a test split.
        tell: Called with the name of each control before it starts.
        **numbers: The recipe's parameters.
    """
    seed = numbers.get("seed", 0)
    parts: dict[str, Callable[[], Metrics]]
    if source.output.kind == "state":
        parts = {"untouched": lambda: untouched(recipe(source, task, **numbers), task)}
    elif task.spec.target == "image":
        parts = {
            "conditional_gan": lambda: conditional_gan(task, seed=seed),
            "rejection": lambda: rejection(source, task, seed=seed),
        }
    else:
        parts = {
            "majority": lambda: majority(task),
            "linear_probe": lambda: linear_probe(recipe(source, task, **numbers), task),
            "scratch": lambda: scratch(task, seed=seed),
        }
    if task.spec.input.kind == "text":
        parts["ngrams"] = lambda: ngrams(task, seed=seed)
    if source.open:
        parts["random_source"] = lambda: random_source(recipe, source, task, **numbers)
    values = {}
    for name, part in parts.items():
        tell(name)
        found = part()
        values[name] = found[headline(found)]
    return values
