"""warp, cross-modal and reprogbert: composed, trained, saved and loaded, and what they promise."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import torch
from tiny import SIDE, image_source
from tiny_language import WIDTH, gap_task, hidden_source, language_source
from tiny_text import text_source, text_task

from reprogram.diagnose import infilling
from reprogram.optim import slanted
from reprogram.program import Program
from reprogram.recipes import cross_modal, reprogbert, warp
from reprogram.sources import Source
from reprogram.tasks.base import Task
from reprogram.tasks.build import make_task
from reprogram.texts import PAIR
from reprogram.train import fit
from reprogram.types import UserError


def reviews(rows: int = 220) -> Task:
    """Pairs of sentences, one of which holds a good word or a bad one."""
    generator = torch.Generator().manual_seed(0)
    telling = (("bad", "no", "un##like##ly"), ("good", "very", "yes"))
    draws = torch.randint(3, (rows, 4), generator=generator).tolist()
    texts = []
    for i, (a, b, c, where) in enumerate(draws):
        words = [("the", "a", "was")[a], ("film", "plot", "?")[b], "was"]
        words.insert(where, telling[i % 2][c])
        texts.append(" ".join(words[:2]) + PAIR + " ".join(words[2:]) + f" {'the ' * (i // 7)}")
    labels = [("bad", "good")[i % 2] for i in range(rows)]
    return make_task("reviews", "text", (texts, labels))


class Case(NamedTuple):
    recipe: Callable[..., Any]
    source: Callable[[], Source]
    task: Callable[[], Task]
    numbers: dict[str, Any]


CASES = {
    "warp": Case(warp, language_source, reviews, {"prompts": 8, "batch_size": 32}),
    "warp none": Case(warp, language_source, reviews, {"prompts": 0}),
    "warp words": Case(
        warp,
        language_source,
        reviews,
        {
            "prompts": ["first", 1, "mask", 1, "second"],
            "start": ["was", "?"],
            "mapping": "Verbalizer(words=['no', 'yes'])",
        },
    ),
    "cross-modal": Case(
        cross_modal, image_source, text_task, {"units": "characters", "mapping": "Linear"}
    ),
    "cross-modal bounded": Case(
        cross_modal,
        image_source,
        lambda: text_task(notation="sequence"),
        {"strength": 0.2, "base": "uniform", "places": False},
    ),
    "reprogbert": Case(reprogbert, language_source, lambda: gap_task(64), {}),
}


@pytest.fixture(params=CASES, name="case")
def _case(request) -> Case:
    return CASES[request.param]


def test_trains_saves_and_loads(case: Case, tmp_path) -> None:
    source, task = case.source(), case.task()
    training = case.recipe(source, task, epochs=1, **case.numbers)
    program = fit(training, task)
    assert program.metrics["source_unchanged"]
    program.save(tmp_path / "program")
    again = Program.load(tmp_path / "program", source=training.source)
    x = task.test.inputs
    assert torch.equal(again.predict(x).scores, program.predict(x).scores)
    told = program.predict(x).scores
    assert told.shape == (len(x), *([10] if task.spec.target == "tokens" else []),
                          len(task.spec.classes))  # fmt: skip


@pytest.mark.parametrize("name", ["warp", "cross-modal", "reprogbert"])
def test_training_lowers_the_loss(name: str) -> None:
    case, losses = CASES[name], []
    source, task = case.source(), case.task()
    training = case.recipe(source, task, epochs=15, learning_rate=0.1, **case.numbers)
    task = replace(task, validation=None, test=None)
    fit(training, task, progress=lambda p: losses.append(p.loss))
    assert sum(losses[-4:]) < 0.92 * sum(losses[:4])


def test_warp_goes_to_the_hidden_states_itself() -> None:
    task = reviews()
    for source in (language_source(), hidden_source(), language_source().exit("hidden")):
        training = warp(source, task, prompts=4)
        assert training.source.input.kind == "embeddings"
        assert training.source.output.kind == "embedding"
        training.bind(task.spec)
        assert training.program(task.spec).trained == 4 * WIDTH + 2 * WIDTH + 2
    with pytest.raises(UserError, match="no exit 'hidden'"):
        warp(text_source(), task)


@pytest.mark.parametrize("keep_best", [True, False])
def test_few_shots_choose_nothing(keep_best: bool) -> None:
    task = reviews().limit(8)
    training = warp(language_source(), task, epochs=6, learning_rate=0.5, keep_best=keep_best)
    program = fit(training, task)
    losses: list[float] = []
    again = warp(language_source(), task, epochs=6, learning_rate=0.5, keep_best=keep_best)
    fit(again, task, progress=lambda p: losses.append(p.validation.get("loss", 9.0)))
    kept = program.metrics["validation"]["loss"]
    assert kept == pytest.approx(min(losses) if keep_best else losses[-1])


def test_cross_modal_reads_no_more_than_the_image_holds() -> None:
    task = text_task()
    training = cross_modal(image_source(), task, units="characters", size=SIDE // 2)
    training.bind(task.spec)
    assert training.transformation.parts[0].length == 4
    assert training.transformation.tally(task.train.inputs[:9])["cut"] > 0


def test_places_that_were_asked_for_are_measured() -> None:
    task = gap_task()
    program = fit(reprogbert(language_source(), task, epochs=1), task)
    found = infilling(program, task.test, count=20)
    assert found["recovery"] == pytest.approx(program.metrics["test"]["accuracy"])
    assert 0 <= found["diversity_own"] < found["diversity"] <= 1
    assert found["diversity_own"] == pytest.approx(found["diversity"] * 19 / 20)
    with pytest.raises(UserError, match="reviews asks for classes"):
        infilling(replace(program, task=reviews().spec), task.test)


def test_the_slanted_triangle_rises_and_falls() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = slanted(optimizer, 100, rise=0.1)
    rates = []
    for _ in range(101):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[0] == rates[100] == pytest.approx(1 / 32)
    assert rates[10] == 1.0
    assert rates[:11] == sorted(rates[:11]) and rates[10:] == sorted(rates[10:], reverse=True)


def test_another_tokenizer_is_told_on_loading(tmp_path) -> None:
    task = gap_task()
    training = reprogbert(language_source(), task, epochs=1)
    fit(training, task).save(tmp_path / "program")
    other: Any = language_source()
    other.lexicon.tokenizer.tokens = other.lexicon.tokenizer.tokens[::-1]
    with pytest.raises(UserError, match="the source is not the one it was fitted to"):
        Program.load(tmp_path / "program", source=hidden_of(other))
    Program.load(tmp_path / "program", source=hidden_of(language_source()))


def hidden_of(source: Source) -> Source:
    """As the recipe enters and leaves it."""
    return source.door("embeddings").exit("hidden")
