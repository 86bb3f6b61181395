"""What every recipe shares: the numbers it takes, how it composes, and that it remembers both."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypedDict, Unpack, get_type_hints, overload

import torch

from reprogram import optim, parts
from reprogram.criteria import ClassWeights, Criterion, CrossEntropy
from reprogram.sources import Source
from reprogram.tasks.base import Task
from reprogram.train import Training
from reprogram.transformations import Subspace, Transformation

Recipe = Callable[..., Training]


class Shared(TypedDict):
    """Numbers that every recipe takes; its docstring tells them after its own.

    Arguments:
        optimizer: A public optimiser, with arguments if wanted, such as ``SPSA(directions=4)``, or
            one made in Python; ``None`` for :func:`reprogram.optim.default`.
        epochs: Passes over the training split.
        batch_size: Samples in a step.
        learning_rate: Of an optimiser that is not made in Python.
        mapping_lr: Learning rate of a mapping that is trained, where it is another one.
        weight_decay: L2 coefficient of an optimiser that is not made in Python.
        mapping: A public mapping, with arguments if wanted, such as ``Frequency(size=2)``.
        class_weights: ``"balanced"``, a weight for each class, or none.
        label_smoothing: Share of the label spread over all classes.
        subspace: Dimensions of a random subspace in which the program is sought, of all its
            parameters by default: the fewer, the fewer queries find it where no gradient passes.
        queries: Most source queries of training and validation; training ends there.
        validations: How often validation is measured; by default after every epoch.
        seed: Of every random draw.
        device: Where to compute.
    """

    optimizer: optim.Optimizer | str | None
    epochs: int
    batch_size: int
    learning_rate: float
    mapping_lr: float | None
    weight_decay: float
    mapping: str
    class_weights: ClassWeights
    label_smoothing: float
    subspace: int | None
    queries: int | None
    validations: int | None
    seed: int
    device: str


COMMON = Shared(
    optimizer=None,
    epochs=30,
    batch_size=64,
    learning_rate=0.01,
    mapping_lr=None,
    weight_decay=0.0,
    mapping="Linear",
    class_weights=None,
    label_smoothing=0.0,
    subspace=None,
    queries=None,
    validations=None,
    seed=0,
    device="cpu",
)


@overload
def recipe(function: Recipe, /) -> Recipe: ...
@overload
def recipe(
    *,
    name: str = "",
    without: Collection[str] = (),
    quick: Mapping[str, Any] | None = None,
    **defaults: Any,
) -> Callable[[Recipe], Recipe]: ...
def recipe(
    function: Recipe | None = None,
    /,
    *,
    name: str = "",
    without: Collection[str] = (),
    quick: Mapping[str, Any] | None = None,
    **defaults: Any,
) -> Any:
    """Give a recipe the numbers that all share, its name, and a memory of every parameter.

    A function that takes ``**shared: Unpack[Shared]`` is called with all of them, and they stand
    in its signature and docstring behind its own. A source that can be given classes by name is
    given the task's.

    Arguments:
        function: The recipe.
        name: Under which it is known; by default the function's, with dashes.
        without: Shared numbers that it does not take.
        quick: Numbers of a run that only shows whether it works (:func:`quickly`), and how many
            rows of ``limit``, ``validation`` and ``test`` it needs at most; by default a tenth of
            the epochs.
        **defaults: Shared numbers whose default is another one here.

    Raises:
        TypeError: if a name is none of :class:`Shared`.

    Example:
        >>> from reprogram.transformations import Frame
        >>> @recipe(epochs=5)
        ... def framed(source: Source, task: Task, **shared: Unpack[Shared]) -> Training:
        ...     return assemble(source, Frame(), **shared)
        >>> inspect.signature(framed).parameters["epochs"]
        <Parameter "epochs: int = 5">
    """
    for key in (*without, *defaults):
        if key not in COMMON:
            raise TypeError(f"{key!r} is no number that recipes share; those are {list(COMMON)}")
    taken = {key: value for key, value in {**COMMON, **defaults}.items() if key not in without}
    tenth = {key: max(1, taken[key] // 10) for key in ("epochs",) if key in taken}
    short = tenth if quick is None else dict(quick)
    decorate = functools.partial(_remembering, name, taken, short)
    return decorate if function is None else decorate(function)


def quickly(recipe: Recipe) -> dict[str, Any]:
    """The numbers of a run that shows in minutes whether it works, and no more; ``limit``,
    ``validation`` and ``test`` among them are rows of the task (:func:`tasks.options.limited`)."""
    return dict(getattr(recipe, "quick", {}))


def _remembering(
    name: str, shared: dict[str, Any], quick: dict[str, Any], function: Recipe
) -> Recipe:
    name = name or function.__name__.replace("_", "-")
    signature, behind = inspect.signature(function), []
    *own, last = signature.parameters.values()
    if last.kind is last.VAR_KEYWORD:
        hints = get_type_hints(Shared)
        behind = [
            inspect.Parameter(key, last.KEYWORD_ONLY, default=value, annotation=hints[key])
            for key, value in shared.items()
        ]
        signature = signature.replace(parameters=[*own, *behind])

    @functools.wraps(function)
    def composed(source: Source, task: Task, *args: Any, **kwargs: Any) -> Training:
        if source.vocabulary:
            source = source.with_classes(task.spec.classes)  # pyright: ignore
        bound = signature.bind(source, task, *args, **kwargs)
        bound.apply_defaults()
        training = function(*bound.args, **bound.kwargs)
        training.recipe = name
        training.parameters = {k: v for k, v in bound.arguments.items() if _remembered(k, v)}
        return training

    composed.quick = quick  # pyright: ignore[reportAttributeAccessIssue]
    if behind:
        told = {parameter.name: parameter.annotation for parameter in behind}
        composed.__annotations__ = {**function.__annotations__, **told}
        composed.__annotations__.pop(last.name, None)
        composed.__signature__ = signature  # pyright: ignore[reportAttributeAccessIssue]
        composed.__doc__ = _documented(function, shared)
    return composed


def _documented(function: Recipe, shared: dict[str, Any]) -> str:
    """The docstring with the shared arguments behind its own."""
    head, mark, rest = (inspect.getdoc(function) or "").partition("Arguments:\n")
    own, blank, after = rest.partition("\n\n")
    lines = [text for key, text in _arguments(Shared).items() if key in shared]
    told = "\n".join([own, *lines] if own else lines)
    return f"{head}{mark}{told}{blank}{after}"


def _arguments(documented: Any) -> dict[str, str]:
    """The entries of a docstring's last section, ``Arguments:``, by name."""
    entries: dict[str, str] = {}
    name = ""
    for line in (inspect.getdoc(documented) or "").partition("Arguments:\n")[2].splitlines():
        if not line.startswith(" " * 8):
            name = line.strip().partition(":")[0]
            entries[name] = line
        else:
            entries[name] += f"\n{line}"
    return entries


def _remembered(name: str, value: Any) -> bool:
    """Whether a program writes it down: an optimiser only where a text names it."""
    return name not in ("source", "task", "device") and (
        name != "optimizer" or isinstance(value, str)
    )


def inner(source: Source, size: int | None) -> int:
    """Side of the image inside a frame: as given, or seven eighths of the source's side."""
    return max(1, source.input.shape[-1] * 7 // 8) if size is None else size


def assemble(
    source: Source,
    transformation: Transformation,
    *,
    criterion: Criterion | None = None,
    scheduler: optim.MakeScheduler | None = optim.cosine,
    rule: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    group: int | None = None,
    **shared: Unpack[Shared],
) -> Training:
    """What the recipes have in common: an optimiser and a mapping by name, cross-entropy.

    Arguments:
        source: At the door the transformation writes to.
        transformation: Not yet bound.
        criterion: ``None`` for the cross-entropy of the class weights and label smoothing.
        scheduler: Of an optimiser that is not made in Python.
        rule: The torch optimiser in an optimiser that is given by name.
        group: Source classes for each target class, of a mapping that takes a ``size`` and is not
            given one.
        **shared: As the recipe got them.
    """
    offered = {} if group is None else {"size": group}
    if shared["subspace"] is not None:
        transformation = Subspace(transformation, shared["subspace"], seed=shared["seed"])
    return Training(
        source=source,
        transformation=transformation,
        mapping=parts.make("mappings", shared["mapping"], seed=shared["seed"], **offered),
        optimizer=_optimizer(source, scheduler, rule, shared),
        epochs=shared["epochs"],
        batch_size=shared["batch_size"],
        criterion=criterion
        or CrossEntropy(
            class_weights=shared["class_weights"], label_smoothing=shared["label_smoothing"]
        ),
        seed=shared["seed"],
        device=shared["device"],
        queries=shared["queries"],
        validations=shared["validations"],
    )


def _optimizer(
    source: Source,
    scheduler: optim.MakeScheduler | None,
    rule: Callable[..., torch.optim.Optimizer],
    shared: Shared,
) -> optim.Optimizer:
    """The one given, or made of the shared numbers."""
    given = shared["optimizer"]
    if not isinstance(given, str | None):
        return given
    offered: dict[str, Any] = {
        "scheduler": scheduler, "mapping_lr": shared["mapping_lr"], "seed": shared["seed"],
    }  # fmt: skip
    rate, decay = shared["learning_rate"], shared["weight_decay"]
    default = optim.default(source.gradient, learning_rate=rate, weight_decay=decay, **offered)
    if given is None:
        return default
    return parts.make(  # of numbers that the default would have refused
        "optimizers",
        given,
        optimizer=functools.partial(rule, lr=rate, weight_decay=decay),
        mapping_optimizer=functools.partial(torch.optim.Adam, lr=shared["mapping_lr"] or rate),
        **offered,
    )
