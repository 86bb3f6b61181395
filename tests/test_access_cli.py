"""Any recipe on a source that tells less, as a user runs it: the bill, the budget, the cache."""

import csv
import json
import re
from pathlib import Path

import commands
import pytest
from test_image_recipes_cli import draw

BLIND = "optimizer=SPSA(c=0.1, directions=1)"


@pytest.fixture
def series(tmp_path: Path) -> Path:
    return commands.write_series(tmp_path / "series.csv", rows=200)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return draw(tmp_path / "images", each=100)


def words(recipe: str, task: Path, out: Path, *more: object) -> tuple[object, ...]:
    source = "zoo:tiny" if recipe.startswith(("v2s", "series")) else "zoo:tiny-images"
    shared = ("--epochs", 2, "--batch-size", 8, "--json")
    return ("fit", "--recipe", recipe, "--source", source, "--task", task, "--out", out,
            *shared, *more)  # fmt: skip


def quoted(err: str) -> int:
    """The bill's total, which stands before anything else that is counted."""
    (told,) = re.findall(r"queries: .*?; ([\d,]+) in all", err)
    return int(told.replace(",", ""))


@pytest.mark.parametrize("access", ["label", "topk:2", "probabilities", "logits"])
@pytest.mark.parametrize("recipe", ["ar", "ilm-vp", "v2s", "series-to-features", "bvp"])
def test_any_recipe_at_any_access(reprogram, recipe, access, series, images, tmp_path) -> None:
    task = series if recipe in ("v2s", "series-to-features") else images
    out = tmp_path / "run"
    done = reprogram(*words(recipe, task, out, "--access", access, "--price", 4))
    assert done.status == 0, done.err
    metrics = json.loads(done.out)
    # what was asked before is recalled: labels of a program that has not moved
    assert quoted(done.err) == metrics["queries"] + metrics.get("recalled", 0)
    assert f"for {quoted(done.err) * 0.004:,.2f}" in done.err
    assert metrics["cost"] == pytest.approx(metrics["queries"] * 0.004)
    assert "train" not in metrics  # it would have cost queries
    uri = json.loads((out / "program.json").read_text())["source"]["uri"]
    assert f"?access={access}" in uri
    assert reprogram("evaluate", out).status == 0  # the same access, from the program alone
    assert reprogram("report", out).status == 0
    assert "Accuracy by queries spent" in (out / "report.html").read_text()


def test_a_subspace_makes_any_program_small(reprogram, images, tmp_path) -> None:
    told = {}
    for name, more in (("whole", ()), ("small", ("--set", "subspace=5"))):
        done = reprogram(*words("ar", images, tmp_path / name, "--access", "label", *more))
        told[name] = json.loads(done.out)["parameters"]
    assert told["small"] == 5 < told["whole"]
    refused = reprogram(*words("ar", images, tmp_path / "x", "--set", "subspace=1000000"))
    assert "1000000" in refused.error


@pytest.mark.parametrize("access", [("--access", "topk:2"), ()])
def test_controls_are_billed_beforehand(reprogram, access, images, tmp_path) -> None:
    out = tmp_path / "run"
    done = reprogram(*words("ar", images, out, *access, "--controls"))
    metrics = json.loads(done.out)
    recalled = metrics.get("recalled", 0)
    assert quoted(done.err) == metrics["queries"] + recalled + metrics["control_queries"]
    assert {"linear_probe", "random_source"} <= metrics["controls"].keys()


def test_a_budget_is_kept_and_too_small_a_one_refused(reprogram, images, tmp_path) -> None:
    blind = ("--access", "label", "--set", BLIND)
    long = (*words("ar", images, tmp_path / "run", *blind), "--budget", 900)
    done = reprogram(*[400 if word == 2 else word for word in long])  # epochs
    assert done.status == 0, done.err
    assert json.loads(done.out)["queries"] <= quoted(done.err) <= 900
    assert "the limit allows no more" in done.err
    refused = reprogram(*words("ar", images, tmp_path / "none", *blind, "--budget", 20))
    assert "the budget of 20 leaves" in refused.error
    assert not (tmp_path / "none").exists()


def test_a_cache_serves_the_next_run(reprogram, images, tmp_path) -> None:
    cache = tmp_path / "answers.sqlite"
    spent = []
    for name in ("one", "two"):
        done = reprogram(*words("ar", images, tmp_path / name, "--access", "label", "--set", BLIND,
                                "--cache", cache))  # fmt: skip
        spent.append(json.loads(done.out)["queries"])
    assert spent[0] > 0 == spent[1]
    one, two = (json.loads((tmp_path / name / "metrics.json").read_text())["test"]
                for name in ("one", "two"))  # fmt: skip
    assert one == two


def test_history_tells_queries(reprogram, images, tmp_path) -> None:
    out = tmp_path / "run"
    done = reprogram(*words("ar", images, out, "--access", "label", "--set", "validations=1"))
    with (out / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "2"]
    assert int(rows[-1]["queries"]) < json.loads(done.out)["queries"]  # test comes after


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--access", "everything"), "access 'everything' is unknown"),
        (("--access", "topk:99"), "the top 99 of 7 source classes"),
        (("--adapter", "x.json"), "takes no adapter"),
        (("--budget", -1), "--budget"),
        (("--price", -1), "--price"),
        (("--access", "label", "--set", "optimizer=Backprop"), "Backprop needs a gradient"),
        (("--set", "optimizer=SPSA(c=-1)"), "'c' is -1"),
        (("--set", "queries=5"), "'queries' allows 5"),
    ],
)
def test_what_does_not_fit_is_one_line(reprogram, more, said, images, tmp_path) -> None:
    done = reprogram(*words("ar", images, tmp_path / "run", *more))
    assert said in done.error
    assert not (tmp_path / "run").exists()


def test_access_without_a_source_is_named(reprogram, images, tmp_path) -> None:
    done = reprogram("fit", "--recipe", "ar", "--task", images, "--access", "label")
    assert "--source, which is missing" in done.error
