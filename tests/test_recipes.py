"""Recipes: each composes, runs, and remembers with what; a new one joins by its door and task."""

import inspect
import json
from typing import Any, Unpack, get_type_hints

import pytest
import torch
from tiny import black_box, image_source, image_task, series_task, speech_source, table_task
from tiny_language import gap_task, language_source
from tiny_text import text_source, text_task
from typechecker import unchecked

from reprogram import parts, recipes
from reprogram.criteria import CrossEntropy
from reprogram.optim import CMAES, NES, SPSA, Backprop, RandomDirections, ScoreFunction
from reprogram.recipes import RECIPES, find, recipe
from reprogram.recipes.base import COMMON, Shared, assemble, quickly
from reprogram.sources import Source
from reprogram.tasks.base import Task
from reprogram.train import Training, fit
from reprogram.transformations import Compose, Frame, Resize
from reprogram.types import UserError

# name -> a source with the recipe's kind of door, and a task of its kind
WORLDS: dict[str, tuple[Any, Any]] = {
    "v2s": (speech_source, series_task),
    "v2s-fm": (speech_source, series_task),
    "series-to-features": (speech_source, series_task),
    "ar": (image_source, image_task),
    "trainable-io": (image_source, image_task),
    "vp": (image_source, image_task),
    "ilm-vp": (image_source, image_task),
    "blm": (image_source, image_task),
    "blm+": (image_source, image_task),
    "smm": (image_source, image_task),
    "autovp": (image_source, image_task),
    "bar": (image_source, image_task),
    "blackvip": (image_source, image_task),
    "bvp": (image_source, image_task),
    "discrete-vp": (image_source, image_task),
    "fraud": (image_source, table_task),
    "vocab-remap": (text_source, lambda: text_task().limit(20)),
    "r2dl": (text_source, lambda: text_task().limit(20)),
    "warp": (language_source, lambda: text_task().limit(20)),
    "cross-modal": (image_source, lambda: text_task().limit(20)),
    "reprogbert": (language_source, gap_task),
}


BLACK = {
    "bar": RandomDirections,
    "blackvip": SPSA,
    "discrete-vp": ScoreFunction,
}  # which never ask for a gradient
BLIND = {"vocab-remap": ScoreFunction}  # where there is none, at the source's own first door
COPIED = {"warp"}  # which starts at the source's own mask
LEFT_OUT = {"v2s": {"weight_decay"}, "bar": {"label_smoothing"}}


# whose criterion is their own: tests/test_generator_programs.py, tests/test_automata_recipes.py
APART = {"gan-noise", "inrep", "nca-inject", "nca-global"}


@pytest.fixture(params=WORLDS)
def name(request) -> str:
    return request.param


def composed(name: str, **numbers: Any) -> Training:
    source, task = WORLDS[name]
    return RECIPES[name](source(), task(), **numbers)


def test_runs_two_steps(name: str) -> None:
    losses: list[float] = []
    training = composed(name, epochs=1, batch_size=10)
    program = fit(training, WORLDS[name][1](), progress=lambda p: losses.append(p.loss))
    assert len(losses) == 2
    assert program.recipe == name
    assert program.metrics["source_unchanged"]
    assert program.predict(WORLDS[name][1]().test.inputs).labels


def test_remembers_every_parameter(name: str) -> None:
    training = composed(name, epochs=3, seed=5)
    assert training.recipe == name
    taken = set(inspect.signature(RECIPES[name]).parameters)
    written = taken - {"source", "task", "device"} - (set() if name in BLACK else {"optimizer"})
    assert set(training.parameters) == written
    assert training.parameters["epochs"] == training.epochs == 3
    again = composed(name, **json.loads(json.dumps(training.parameters)))
    assert again.parameters == training.parameters
    for part in ("transformation", "mapping"):
        assert parts.describe(getattr(again, part)) == parts.describe(getattr(training, part))
    assert again.batch_size == training.batch_size


def test_what_every_recipe_takes(name: str) -> None:
    signature = inspect.signature(RECIPES[name]).parameters
    assert list(signature)[:2] == ["source", "task"]
    assert Shared.__annotations__.keys() - signature.keys() == LEFT_OUT.get(name, set())
    for parameter in list(signature.values())[2:]:
        assert parameter.kind is parameter.KEYWORD_ONLY, parameter
        assert parameter.default is not parameter.empty, parameter
        assert f"{parameter.name}: " in (RECIPES[name].__doc__ or ""), parameter


def test_the_default_optimizer_follows_the_source(name: str) -> None:
    source, task = WORLDS[name]
    assert type(composed(name).optimizer) is BLACK.get(name, Backprop)
    assert type(composed(name, optimizer=None).optimizer) is Backprop
    door = source() if name in BLIND else composed(name).source  # a black box has one door
    blind = RECIPES[name](black_box(door), task(), seed=8)
    assert isinstance(blind.optimizer, BLACK.get(name, BLIND.get(name, NES)))
    assert getattr(blind.optimizer, "seed", 8) == 8
    own = CMAES()
    assert RECIPES[name](black_box(source()).door(door.input.kind) if door.input == source().input
                         else black_box(door), task(), optimizer=own).optimizer is own  # fmt: skip


@pytest.mark.parametrize(
    ("written", "kind", "told"),
    [
        ("SPSA(directions=3)", SPSA, {"directions": 3, "seed": 8}),
        ("Backprop", Backprop, {"mapping_lr": 0.5}),
        ("CMAES(population=6, diagonal=True)", CMAES, {"population": 6, "seed": 8}),
    ],
)
def test_an_optimizer_by_its_name_and_arguments(name: str, written: str, kind, told) -> None:
    task = WORLDS[name][1]()
    training = composed(name, optimizer=written, learning_rate=0.0625, mapping_lr=0.5, seed=8)
    optimizer: Any = training.optimizer
    assert type(optimizer) is kind
    assert {key: getattr(optimizer, key) for key in told} == told
    assert training.parameters["optimizer"] == written
    training.bind(task.spec)
    behind = torch.nn.Linear(2, 2)
    optimizer.bind(training.transformation, behind, 10)
    if kind is CMAES:
        assert optimizer.behind.param_groups[0]["lr"] == 0.5
        return
    groups = optimizer.torch_optimizer.param_groups
    assert [group.get("initial_lr", group["lr"]) for group in groups] == [0.0625, 0.5]


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"optimizer": "Adam"}, "unknown optimizer 'Adam'"),
        ({"optimizer": "GradientStep"}, "unknown optimizer 'GradientStep'"),
        ({"optimizer": "SPSA(direction=3)"}, "unknown argument of SPSA 'direction'"),
        ({"optimizer": "SPSA(directions=0)"}, "'directions' is 0"),
        ({"optimizer": "SPSA", "learning_rate": -1.0}, "'learning_rate' is -1"),
        ({"queries": 0}, "'queries' is 0"),
        ({"validations": 0}, "'validations' is 0"),
    ],
)
def test_a_number_that_does_not_fit_is_named(numbers, said: str) -> None:
    with pytest.raises(UserError, match=said):
        composed("ar", **numbers)


def test_an_unknown_number_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match="'epoch'"):
        composed(name, epoch=3)


def test_the_learning_rate_reaches_the_optimizer(name: str) -> None:
    training = composed(name, learning_rate=0.0625)
    training.bind(WORLDS[name][1]().spec)
    training.optimizer.bind(training.transformation, training.mapping, 10)
    assert training.optimizer.torch_optimizer.defaults["lr"] == 0.0625  # pyright: ignore


def test_settings_pass_through(name: str) -> None:
    smoothed = {"label_smoothing": 0.2} if "label_smoothing" not in LEFT_OUT.get(name, ()) else {}
    training = composed(
        name, class_weights="balanced", seed=6, batch_size=5, mapping="Fixed", queries=900,
        validations=2, **smoothed,
    )  # fmt: skip
    assert training.criterion.class_weights == "balanced"  # pyright: ignore
    assert isinstance(training.criterion, CrossEntropy) == bool(smoothed)
    assert not smoothed or training.criterion.label_smoothing == 0.2  # pyright: ignore
    assert (training.queries, training.validations) == (900, 2)
    assert training.seed == 6
    assert training.mapping.seed == 6  # pyright: ignore
    assert training.batch_size == 5
    assert type(training.mapping).__name__ == "Fixed"
    for mapping in parts.known("mappings"):
        assert type(composed(name, mapping=mapping).mapping).__name__ == mapping


def test_the_seed_reaches_the_transformation(name: str) -> None:
    flat = []
    for seed in (0, 0, 1):
        training = composed(name, seed=seed)
        training.bind(WORLDS[name][1]().spec)
        flat.append(torch.cat([p.flatten() for p in training.transformation.parameters()]))
    assert torch.equal(flat[0], flat[1])
    drawn = len(flat[0].unique()) > 2 and name not in COPIED  # others start at constants
    assert not drawn or not torch.equal(flat[0], flat[2])


def test_a_source_without_the_door_is_named(name: str) -> None:
    source, task = WORLDS[name]
    other = image_source() if source is speech_source else speech_source()
    with pytest.raises(UserError, match=r"(has no door '\w+'; it has|writes 'image'; source)"):
        RECIPES[name](other, task()).bind(task().spec)


def test_a_mapping_that_is_none_is_named(name: str) -> None:
    with pytest.raises(UserError, match="unknown mapping 'Liner'; did you mean 'Linear'"):
        composed(name, mapping="Liner")


def test_the_list_is_the_registry() -> None:
    assert set(WORLDS) | APART == set(RECIPES)
    for name, function in RECIPES.items():
        assert find(name) is function
        assert function.__name__.replace("_plus", "+").replace("_", "-") == name
        assert getattr(recipes, function.__name__) is function
        assert function.__name__ in recipes.__all__
    with pytest.raises(UserError, match="unknown recipe 'v2'; did you mean 'v2s'"):
        find("v2")


def test_v2s_is_as_published() -> None:
    training = composed("v2s")
    assert parts.describe(training.transformation)["name"] == "PadSeries"
    described = parts.describe(training.mapping)
    assert described["name"] == "ManyToOne"
    assert described["arguments"]["average"] == "probabilities"
    training.bind(series_task().spec)
    training.optimizer.bind(training.transformation, training.mapping, 10)
    adam = training.optimizer.torch_optimizer  # pyright: ignore
    assert type(adam) is torch.optim.Adam
    assert adam.defaults["lr"] == 0.05
    assert adam.defaults["weight_decay"] == 0.08  # of 0.04 |theta|^2, Adam's penalty being half
    assert training.optimizer.torch_scheduler is None  # pyright: ignore


def test_a_source_of_any_vocabulary_is_given_the_names_of_the_task() -> None:
    asked = []

    class Open(type(image_source())):
        vocabulary = True

        def with_classes(self, names):
            asked.append(names)
            return image_source()

    source = image_source()
    source.__class__ = Open
    training = RECIPES["vp"](source, image_task())
    assert asked == [("x", "y", "z")]
    assert training.source is not source and training.source.output.kind == "classes"


def test_the_decorator_remembers_what_was_given_by_position() -> None:
    @recipe
    def my_own(source: Any, task: Any, *, epochs: int = 2, width: int = 9) -> Training:
        del width
        return RECIPES["series-to-features"](source, task, epochs=epochs)

    with unchecked():
        training = my_own(speech_source(), series_task(), width=5)
    assert training.recipe == "my-own"
    assert training.parameters == {"epochs": 2, "width": 5}


def framed(source: Source, task: Task, *, size: int = 9, **shared: Unpack[Shared]) -> Training:
    """An image in a frame.

    Arguments:
        source: Of images.
        task: Of images.
        size: Of the image.

    Example:
        >>> framed.__name__
        'framed'
    """
    del task
    return assemble(source, Compose([Resize(size), Frame()]), **shared)


def test_the_decorator_fills_in_what_recipes_share() -> None:
    own = recipe(name="mine", epochs=7, mapping="Fixed", without=("weight_decay",))(framed)
    with pytest.raises(KeyError, match="weight_decay"):  # which it would have to set itself
        own(image_source(), image_task())
    own = recipe(epochs=7, mapping="Fixed")(framed)
    training = own(image_source(), image_task(), seed=3)
    assert training.recipe == "framed"
    shared = {key: value for key, value in COMMON.items() if key not in ("optimizer", "device")}
    assert training.parameters == {"size": 9, **shared, "epochs": 7, "mapping": "Fixed", "seed": 3}
    with pytest.raises(TypeError, match="'weight_decays' is no number that recipes share"):
        recipe(weight_decays=1.0)
    with pytest.raises(TypeError, match="'weight_decays' is no number that recipes share"):
        recipe(without=("weight_decays",))


def test_a_recipe_that_takes_no_epochs_is_not_shortened() -> None:
    def at_once(source: Source, task: Task, **shared: Unpack[Shared]) -> Training:
        return framed(source, task, **{**shared, "epochs": 1})

    own = recipe(without=("epochs",), mapping="Fixed")(at_once)
    assert quickly(own) == {} and "epochs" not in inspect.signature(own).parameters
    training = own(image_source(), image_task())
    assert training.epochs == 1 and "epochs" not in training.parameters
    assert quickly(recipe(epochs=25)(at_once)) == {"epochs": 2}
    assert quickly(recipe(epochs=5)(at_once)) == {"epochs": 1}
    assert quickly(recipe(quick={"width": 3})(at_once)) == {"width": 3}


def test_the_decorator_tells_what_recipes_share() -> None:
    own = recipe(epochs=7)(framed)
    parameters = inspect.signature(own).parameters
    assert list(parameters) == ["source", "task", "size", *COMMON]
    assert {key: parameters[key].default for key in COMMON} == {**COMMON, "epochs": 7}
    hints = get_type_hints(own)
    assert hints["epochs"] is int and hints["size"] is int and "shared" not in hints
    doc = inspect.getdoc(own) or ""
    assert doc.index("size: Of the image") < doc.index("epochs: ") < doc.index("Example:")
    assert inspect.signature(framed).parameters.keys() == {"source", "task", "size", "shared"}
