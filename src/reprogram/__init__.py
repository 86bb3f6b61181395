"""Model reprogramming: ``mapping(source(transformation(x)))``, and only the outside is trained.

References:
    | Model Reprogramming: Resource-Efficient Cross-Domain Machine Learning (Chen, 2022).
      https://arxiv.org/abs/2202.10629
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reprogram import criteria, mappings, optim, recipes, sources, tasks, transformations
    from reprogram.evaluation import evaluate
    from reprogram.model import Reprogrammed
    from reprogram.predictions import Images, Predictions
    from reprogram.program import Program
    from reprogram.sources import load as load_source
    from reprogram.tasks import load as load_task
    from reprogram.train import Training, fit
    from reprogram.types import InputSpec, OutputSpec, Scores, TaskSpec, UserError

__version__ = "0.1.0"

# Where each public name lives; nothing is imported before it is asked for.
_HOMES = {
    "InputSpec": "types", "OutputSpec": "types", "Scores": "types", "TaskSpec": "types",
    "UserError": "types", "Reprogrammed": "model", "Program": "program",
    "Predictions": "predictions", "Images": "predictions",
    "Training": "train", "fit": "train", "evaluate": "evaluation",
    "load_source": "sources:load", "load_task": "tasks:load",
}  # fmt: skip
_ROOMS = {"criteria", "mappings", "optim", "recipes", "sources", "tasks", "transformations"}

__all__ = [
    "Images",
    "InputSpec",
    "OutputSpec",
    "Predictions",
    "Program",
    "Reprogrammed",
    "Scores",
    "TaskSpec",
    "Training",
    "UserError",
    "criteria",
    "evaluate",
    "fit",
    "load_source",
    "load_task",
    "mappings",
    "optim",
    "recipes",
    "sources",
    "tasks",
    "transformations",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"reprogram.{name}")
    if name in _HOMES:
        home, _, attribute = _HOMES[name].partition(":")
        value = getattr(importlib.import_module(f"reprogram.{home}"), attribute or name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'reprogram' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
