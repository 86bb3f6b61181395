"""The command line, as a user meets it."""

import csv
import io
import json
import math
import shlex
import subprocess
import sys

import commands
import pytest

import reprogram.cli.demo as demo_module
from reprogram import recipes
from reprogram.cli import app, parameters, runs
from reprogram.cli.exits import Terminated, leave
from reprogram.cli.progress import Display
from reprogram.train import Progress
from reprogram.types import UserError

FIT = ("fit", "--recipe", "v2s", "--source", "zoo:tiny", "--epochs", 2)


@pytest.fixture
def series(tmp_path):
    return commands.write_series(tmp_path / "series.csv")


@pytest.fixture
def run(reprogram, series, tmp_path):
    """A finished run on the table."""
    out = tmp_path / "run"
    assert reprogram(*FIT, "--task", series, "--out", out).status == 0
    return out


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from reprogram.cli import main; status = main(['fit', '--help']);"
        "heavy = {'torch', 'numpy', 'sklearn', 'safetensors', 'rich.progress'} & set(sys.modules);"
        "sys.exit(f'imported: {heavy}' if heavy or status else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for option in ("--recipe", "--source", "--task", "--out", "--set", "--resume", "--json"):
        assert option in done.stdout


def test_no_words_are_a_call_for_help(reprogram):
    assert "fit" in reprogram().out
    assert reprogram("--version").out == f"reprogram {__import__('reprogram').__version__}\n"


@pytest.mark.parametrize(
    ("room", "name"),
    [
        ("sources", "zoo:speech-commands"), ("tasks", "ucr:NAME"), ("recipes", "v2s-fm"),
        ("transformations", "PadSeries"), ("mappings", "ManyToOne"), ("optimizers", "SPSA"),
    ],
)  # fmt: skip
def test_list(reprogram, room, name):
    lines = reprogram("list", room).out.splitlines()
    assert name in [line.split()[0] for line in lines]
    assert all(len(line.split()) > 1 for line in lines)  # each has a description
    assert list(json.loads(reprogram("list", room, "--json").out)) == [
        line.split()[0] for line in lines
    ]


def test_list_leaves_contracts_out(reprogram):
    for room, contract in (
        ("mappings", "Mapping"), ("transformations", "Transformation"), ("optimizers", "Optimizer")
    ):  # fmt: skip
        assert contract not in [
            line.split()[0] for line in reprogram("list", room).out.splitlines()
        ]


def test_list_has_what_other_packages_add(reprogram, monkeypatch):
    class Entry:
        name = "theirs"

        def load(self):
            return recipes.v2s

    monkeypatch.setattr(recipes, "entry_points", lambda group: [Entry()])
    assert "theirs" in reprogram("list", "recipes").out


def test_fit_writes_a_run(reprogram, series, tmp_path):
    out = tmp_path / "run"
    done = reprogram(*FIT, "--task", series, "--out", out, "--json")
    assert done.status == 0
    (line,) = done.out.splitlines()
    metrics = json.loads((out / "metrics.json").read_text())
    assert json.loads(line) == metrics
    assert 0 <= metrics["test"]["accuracy"] <= 1 and metrics["source_unchanged"] is True
    assert set(metrics["controls"]) == {"majority"}
    assert metrics["program_bytes"] == (out / "program.safetensors").stat().st_size
    assert {p.name for p in out.iterdir()} == {
        "program.safetensors", "program.json", "metrics.json", "history.csv", "run.json"
    }  # fmt: skip
    assert "epoch 2/2" in done.err and "ETA" in done.err and "steps/s" in done.err


def test_fit_tells_what_it_came_to(reprogram, series, tmp_path):
    out = tmp_path / "run"
    done = reprogram(*FIT, "--task", series, "--out", out)
    for told in ("test accuracy", "majority", "parameters trained", "kB", "source unchanged"):
        assert told in done.out
    words = shlex.split(done.out.splitlines()[-1].partition("try next")[2])
    assert words[-3:] == ["predict", str(out), str(series)]


def test_controls_are_computed_when_asked(reprogram, series, tmp_path):
    words = (*FIT, "--task", series, "--out", tmp_path / "run", "--json")
    metrics = json.loads(reprogram(*words, "--controls").out)
    assert set(metrics["controls"]) == {"majority", "linear_probe", "random_source", "scratch"}
    # a finished run is not fitted again: its controls and numbers stand
    again = json.loads(reprogram("fit", "--resume", "--out", tmp_path / "run", "--json").out)
    assert again == metrics


def test_a_finished_run_gets_its_controls_later(reprogram, run):
    before = (run / "program.safetensors").read_bytes()
    done = reprogram("fit", "--resume", "--out", run, "--controls", "--json")
    assert "random_source" in json.loads(done.out)["controls"]
    assert "random_source" in json.loads((run / "metrics.json").read_text())["controls"]
    assert (run / "program.safetensors").read_bytes() == before


def test_runs_stand_beside_one_another_by_default(reprogram, series, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("series", "series-2"):
        done = reprogram(*FIT, "--task", "series.csv", "--epochs", 1)
        assert str(tmp_path / "runs" / name / "program.json") and f"runs/{name}" in done.out
        assert (tmp_path / "runs" / name / "program.json").is_file()


def test_set_reaches_the_recipe(reprogram, series, tmp_path):
    words = ("--set", "segments=3", "--set", "mapping=Linear", "--batch-size", 7, "--seed", 5)
    assert reprogram(*FIT, "--task", series, "--out", tmp_path / "run", *words).status == 0
    record = json.loads((tmp_path / "run" / "program.json").read_text())
    told = {name: record["parameters"][name] for name in ("segments", "mapping", "batch_size")}
    assert told == {"segments": 3, "mapping": "Linear", "batch_size": 7}
    assert record["seed"] == record["parameters"]["seed"] == 5


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("20", int, 20), ("-3", int, -3), ("1e-3", float, 0.001), ("2", float, 2.0),
        ("true", bool, True), ("false", bool, False), ("3", str, "3"), ("none", int | None, None),
        ("7", int | None, 7), ("0.5,2", list[float], [0.5, 2.0]),
        ("balanced", recipes.v2s.__annotations__ and parameters.accepted(recipes.v2s)[
            "class_weights"], "balanced"),
        ("1,2", parameters.accepted(recipes.v2s)["class_weights"], [1.0, 2.0]),
        ("none", parameters.accepted(recipes.v2s)["class_weights"], None),
    ],
)  # fmt: skip
def test_read(text, hint, value):
    read = parameters.read(text, hint)
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "hint"),
    [("ten", int), ("2.5", int), ("nan", float), ("x", float), ("yes", bool), ("x", int | None)],
)
def test_read_refuses(text, hint):
    with pytest.raises(ValueError):
        parameters.read(text, hint)


def test_every_recipe_takes_the_common_options():
    for recipe in recipes.RECIPES.values():
        known = parameters.accepted(recipe)
        assert {"epochs", "batch_size", "learning_rate", "seed", "device"} <= set(known)
        assert "optimizer" in known


def test_evaluate_repeats_the_run(reprogram, run, series):
    metrics = json.loads((run / "metrics.json").read_text())
    for split in ("test", "train"):
        found = json.loads(reprogram("evaluate", run, "--split", split, "--json").out)
        assert found == {split: pytest.approx(metrics[split])}
    assert "accuracy" in reprogram("evaluate", run).out
    assert reprogram("evaluate", run, "--task", series).status == 0


def test_evaluate_knows_the_label_column(reprogram, series, tmp_path):
    series.write_text(series.read_text().replace("id,label", "id,kind"))
    out = tmp_path / "run"
    assert reprogram(*FIT, "--task", series, "--label", "kind", "--out", out).status == 0
    assert reprogram("evaluate", out).status == 0
    assert "24 labelled rows" in reprogram("predict", out, series).err


def test_evaluate_refuses_other_classes(reprogram, run, tmp_path):
    other = commands.write_series(tmp_path / "other.csv", classes=3)
    told = reprogram("evaluate", run, "--task", other).error
    assert "class-2" in told and "class-0, class-1" in told
    longer = commands.write_series(tmp_path / "longer.csv", length=13)
    told = reprogram("evaluate", run, "--task", longer).error
    assert "(1, 13)" in told and "(1, 12)" in told


def test_evaluate_refuses_a_split_that_is_not_there(reprogram, run):
    assert "train and test" in reprogram("evaluate", run, "--split", "validation").error


def test_predict_keeps_rows_and_order(reprogram, run, series):
    table = list(csv.DictReader(io.StringIO(reprogram("predict", run, series).out)))
    assert [row["row"] for row in table] == [f"row-{i}" for i in range(24)]
    for row in table:
        chances = {c: float(row[f"probability_{c}"]) for c in ("class-0", "class-1")}
        assert math.isclose(sum(chances.values()), 1, abs_tol=1e-5)
        assert row["label"] == max(chances, key=chances.__getitem__)


def test_predict_writes_the_same_as_json(reprogram, run, series, tmp_path):
    lines = reprogram("predict", run, series, "--format", "jsonl").out.splitlines()
    table = list(csv.DictReader(io.StringIO(reprogram("predict", run, series).out)))
    for line, row in zip(map(json.loads, lines), table, strict=True):
        assert (line["row"], line["label"]) == (row["row"], row["label"])
        assert line["probabilities"]["class-1"] == float(row["probability_class-1"])
    for name in ("all.csv", "all.jsonl"):
        done = reprogram("predict", run, series, "--out", tmp_path / name)
        assert done.status == 0 and done.out == ""
    assert (tmp_path / "all.jsonl").read_text().splitlines() == lines


def test_predict_reads_several_files_without_labels(reprogram, run, series, tmp_path):
    header, *rows = [line.split(",") for line in series.read_text().splitlines()]
    bare = tmp_path / "bare.csv"
    bare.write_text("\n".join(",".join(cells[2:]) for cells in [header, *rows[:3]]))
    done = reprogram("predict", run, bare, series)
    table = list(csv.DictReader(io.StringIO(done.out)))
    assert [row["row"] for row in table[:4]] == ["bare.csv:2", "bare.csv:3", "bare.csv:4", "row-0"]
    for one, other in zip(table[:3], table[3:6], strict=True):
        assert {k: one[k] for k in one if k != "row"} == {k: other[k] for k in other if k != "row"}


def test_a_failed_predict_leaves_the_old_file(reprogram, run, tmp_path):
    out = tmp_path / "predictions.csv"
    out.write_text("old")
    assert "nowhere.csv" in reprogram("predict", run, tmp_path / "nowhere.csv", "--out", out).error
    assert out.read_text() == "old"
    assert "neither" in reprogram("predict", run, out, "--out", tmp_path / "x.txt").error


def test_demo_shows_controls_and_a_command_that_works(reprogram, series, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo_module, "ORDER", {
        "recipe": "series-to-features", "source": "zoo:tiny", "task": str(series),
    })  # fmt: skip
    for place in ("runs/demo", "runs/demo-2"):
        done = reprogram("demo")
        assert done.status == 0, done.err
        for told in ("test accuracy", "majority", "linear probe", "random source", "scratch"):
            assert told in done.out
        words = shlex.split(done.out.splitlines()[-1].partition("try next")[2])
        assert words[-3:] == ["predict", place, f"{place}/sample.csv"]
        predicted = reprogram(*words[-3:])
        assert predicted.status == 0
        assert len(predicted.out.splitlines()) > 1


@pytest.mark.parametrize(
    ("error", "status"),
    [(KeyboardInterrupt(), 130), (Terminated("bye"), 143), (UserError("no\nway"), 2)],
)
def test_ways_out(capsys, error, status):
    def run():
        raise error

    assert leave(run, debug=False) == status
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1 and "Traceback" not in told
    assert status != 2 or told == "error: no way\n"


def test_a_fault_of_ours_keeps_its_traceback():
    def run():
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError):
        leave(run, debug=False)


def test_debug_shows_the_traceback(reprogram):
    done = reprogram("fit", "--recipe", "nope", "--source", "a", "--task", "b", "--debug")
    assert done.status == 2 and "Traceback" in done.err and "error: unknown recipe" in done.err


@pytest.mark.parametrize(
    "words",
    [
        ("fit", "--epoch"), ("fit", "--epochs", "ten"), ("nothing",), ("predict", "run"),
        ("list", "things"), ("evaluate",), ("fit", "--seed", "-1"),
        ("fit", "--recipe", "v2s", "--source", "zoo:tiny"),
    ],
)  # fmt: skip
def test_unreadable_words_are_told_in_a_line(reprogram, words):
    assert "--help" in reprogram(*words).error


def test_a_bar_on_a_terminal_and_lines_elsewhere(monkeypatch, capsys):
    def show():
        with Display() as display:
            for step in range(1, 101):
                display(Progress(step, 100, 1 + (step - 1) // 10, 10, 0.5, {"accuracy": 0.75}))

    show()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "epoch 10/10" in lines[0]
    assert "validation accuracy 0.750" in lines[0] and "ETA 0:00:00" in lines[0]
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    show()
    assert "\x1b[" in capsys.readouterr().err


def test_a_changed_source_is_a_warning_if_asked(reprogram, run, series, monkeypatch):
    from reprogram.sources import zoo

    import tiny  # isort: skip

    def changed():
        source = tiny.speech_source(seed=1)
        source.uri = "zoo:tiny"
        return source

    monkeypatch.setitem(zoo.SOURCES, "tiny", (changed, ""))
    assert "weights differ" in reprogram("predict", run, series).error
    done = reprogram("predict", run, series, "--no-strict")
    assert done.status == 0 and done.err.count("warning: program") == 1


def test_names_for_folders(tmp_path):
    assert runs.fresh(tmp_path / "a") == tmp_path / "a"
    (tmp_path / "a").mkdir()
    (tmp_path / "a-2").write_text("")
    assert runs.fresh(tmp_path / "a") == tmp_path / "a-3"


def test_commands_are_documented():
    for command in app.registered_commands:
        assert command.callback is not None and command.callback.__doc__
