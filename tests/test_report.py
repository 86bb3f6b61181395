"""The report of a run: one page that says what happened, and nothing that it should not."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import commands
import numpy as np
import pytest
import tiny
import torch

from reprogram.mappings import Fixed, Linear, ManyToOne, Mapping
from reprogram.optim import Backprop
from reprogram.report import content, html, pictures, render, sections, svg
from reprogram.train import Training, fit
from reprogram.transformations import Compose, Frame, Overlay, PadSeries, Resize, SeriesToFeatures

VOID = {"br", "img", "meta"}


class Page(HTMLParser):
    """Checks that every element is closed in its turn, and gathers what the page holds."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[str] = []
        self.tags: set[str] = set()
        self.values: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.values += [value or "" for name, value in attrs if name != "src"]
        self.images += [value for name, value in attrs if name == "src"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag.lower()

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def pixels(self) -> list[np.ndarray]:
        from PIL import Image

        head = "data:image/png;base64,"
        assert all(source.startswith(head) for source in self.images)
        files = (base64.b64decode(source.removeprefix(head)) for source in self.images)
        return [np.asarray(Image.open(io.BytesIO(file))) for file in files]


def trained(transformation, mapping, source, task, **more):
    training = Training(
        source=source, transformation=transformation, mapping=mapping,
        optimizer=Backprop(), epochs=2, batch_size=8, recipe="by hand", **more,
    )  # fmt: skip
    return training, task


def image_run(tmp_path, transformation=None, mapping=None, **more):
    task = tiny.image_task()
    given = transformation or Compose([Resize(10), Frame()])
    training, _ = trained(given, mapping or Fixed(), tiny.image_source(), task, **more)
    return fit(training, task, tmp_path / "run"), task


@pytest.fixture
def series(tmp_path):
    return commands.write_series(tmp_path / "series.csv", rows=60)


@pytest.fixture
def run(reprogram, series, tmp_path):
    """A finished run on the table."""
    words = ("fit", "--recipe", "v2s", "--source", "zoo:tiny", "--epochs", 2)
    done = reprogram(*words, "--task", series, "--out", tmp_path / "run")
    assert done.status == 0, done.err
    assert f"report {tmp_path / 'run'}" in done.out  # the last lines say how to see it
    return tmp_path / "run"


def test_report_as_a_user_runs_it(reprogram, run, tmp_path):
    done = reprogram("report", run)
    assert (done.status, done.out, done.err) == (0, f"{run / 'report.html'}\n", "")
    written = (run / "report.html").read_text()
    page = Page(written)
    for told in ("zoo:tiny", "v2s", "PadSeries", "ManyToOne", "majority", "class-0", "recall"):
        assert told in page.text
    metrics = json.loads((run / "metrics.json").read_text())
    assert f"{metrics['test']['accuracy']:.3f}" in page.text
    assert f"{metrics['parameters']:,} parameters" in page.text
    assert "Missing" not in page.text and "Not shown" not in page.text
    assert len(list(re.finditer('<figure class="card">', written))) == 10
    assert {p.name for p in run.iterdir()} >= {"report.html", "program.json"}
    # again, elsewhere: the same bytes
    again = reprogram("report", run, "--out", tmp_path / "deep" / "page.html", "--json")
    assert (tmp_path / "deep" / "page.html").read_text() == written
    assert json.loads(again.out)["missing"] == []
    # a run with a report is still a run
    assert reprogram("evaluate", run).status == 0


def test_the_page_needs_nothing_else_and_names_no_folder(reprogram, run, tmp_path):
    reprogram("report", run)
    written = (run / "report.html").read_text()
    page = Page(written)
    assert page.tags.isdisjoint({"script", "link", "iframe", "object"})
    assert "url(" not in written and "@import" not in written and "http" not in page.text
    assert str(tmp_path) not in written and tmp_path.name not in written
    assert "prefers-color-scheme: dark" in written


def test_without_its_task_a_report_says_so(reprogram, run, series, tmp_path):
    series.unlink()
    done = reprogram("report", run)
    assert done.status == 0 and "note: The task could not be loaded" in done.err
    page = Page((run / "report.html").read_text())
    assert "The task could not be loaded" in page.text and "series.csv" in page.text
    assert str(tmp_path) not in page.text
    assert "Loss by epoch" in page.text and "What is added to a flat series" in page.text
    # one that is asked for by name must be there
    assert "series.csv" in reprogram("report", run, "--task", series).error


def test_without_its_source_a_report_says_so(reprogram, run, monkeypatch):
    from reprogram.sources import zoo

    monkeypatch.delitem(zoo.SOURCES, "tiny")
    done = reprogram("report", run)
    assert done.status == 0
    page = Page((run / "report.html").read_text())
    assert "The program could not be loaded" in page.text and "unknown zoo source" in page.text
    assert "accuracy" in page.text and "Loss by epoch" in page.text
    assert "unknown zoo source" in reprogram("report", run, "--source", "zoo:nothing").error


def test_without_its_numbers_a_report_says_so(reprogram, run):
    (run / "metrics.json").unlink()
    (run / "history.csv").write_text("epoch,loss\n1,much\n")
    assert reprogram("report", run).status == 0
    page = Page((run / "report.html").read_text())
    assert "metrics.json is absent" in page.text and "history.csv is absent" in page.text
    assert "accuracy" in page.text  # the program remembers its own


def test_what_is_no_run_is_one_line(reprogram, run, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no program in" in reprogram("report", tmp_path / "empty").error
    assert "not a folder" in reprogram("report", tmp_path / "nowhere").error
    assert "a folder of that name" in reprogram("report", run, "--out", tmp_path / "empty").error
    (run / "program.json").write_text("{")
    assert "damaged" in reprogram("report", run).error
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_folder_of_the_name_of_a_task_is_no_task(reprogram, tmp_path, monkeypatch):
    words = ("fit", "--recipe", "ar", "--source", "zoo:tiny-images", "--set", "mapping=Linear")
    assert reprogram(*words, "--task", "digits?limit=40", "--epochs", 1, "--out",
                     tmp_path / "digits").status == 0  # fmt: skip
    monkeypatch.chdir(tmp_path)
    done = reprogram("report", "digits")
    assert (done.status, done.err) == (0, "")


def test_names_are_escaped(reprogram, tmp_path):
    table = commands.write_series(tmp_path / "series.csv", rows=60)
    table.write_text(table.read_text().replace("class-0", "<b>").replace("class-1", "a&b\"'"))
    words = ("fit", "--recipe", "series-to-features", "--source", "zoo:tiny", "--epochs", 1)
    assert reprogram(*words, "--task", table, "--out", tmp_path / "run").status == 0
    assert reprogram("report", tmp_path / "run").status == 0
    written = (tmp_path / "run" / "report.html").read_text()
    assert "&lt;b&gt;" in written and "a&amp;b&quot;" in written
    page = Page(written)
    assert "<b>" in page.words and "a&b\"'" in page.words
    assert not any("<" in value for value in page.values if value != "input of class <b>")


def test_pictures_of_images_are_in_natural_units(tmp_path):
    program, task = image_run(tmp_path)
    page = Page(render(tmp_path / "run", program, task))
    pictures_ = page.pixels()
    assert len(pictures_) == 1 + 2 * 10
    pattern = program.transformation.parts[-1].picture().detach()
    wanted = (255 * pattern.clamp(0, 1)).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(pictures_[0], wanted)
    for given, seen in zip(pictures_[1::2], pictures_[2::2], strict=True):
        assert given.shape == (8, 8, 3) and seen.shape == (20, 20, 3)
        frame = wanted.astype(int)
        assert np.abs(seen[:4] - frame[:4]).max() <= 1  # the frame is the pattern
    assert "the source's bounds are 0 to 1" in page.text


def test_a_program_that_adds_is_drawn_around_grey(tmp_path):
    program, task = image_run(tmp_path, Compose([Resize(20), Overlay(strength=0.1)]))
    page = Page(render(tmp_path / "run", program, task))
    pattern = page.pixels()[0]
    assert 100 < pattern.mean() < 155
    assert "Black is -" in page.text


CASES = {
    "window": lambda: (PadSeries(), tiny.speech_source(), "What is added to a flat series"),
    "features": lambda: (
        SeriesToFeatures(width=3), tiny.speech_source().door("features"), "Trained array net.0"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("mapping", [ManyToOne, Linear])
def test_series(tmp_path, case, mapping):
    transformation, source, told = CASES[case]()
    training, task = trained(transformation, mapping(), source, tiny.series_task())
    program = fit(training, task, tmp_path / "run")
    page = Page(render(tmp_path / "run", program, task))
    assert told in page.text and "Not shown" not in page.text
    assert all(p.ndim == 3 for p in page.pixels())


def test_what_is_added_is_the_pattern_where_the_mask_lets_it(tmp_path):
    training, task = trained(PadSeries(), ManyToOne(), tiny.speech_source(), tiny.series_task())
    training.bind(task.spec)
    from reprogram.report.samples import _added

    program = training.program(task.spec)
    added = _added(program)
    assert added is not None
    pad = program.transformation
    torch.testing.assert_close(added, (pad.mask_ * pad.pattern).detach(), atol=1e-6, rtol=0)


def test_a_mapping_that_tells_no_table(tmp_path):
    class Silent(Mapping):
        def forward(self, output):
            return output[:, :3]

    task = tiny.image_task()
    training, _ = trained(Compose([Resize(10), Frame()]), Silent(), tiny.image_source(), task)
    training.bind(task.spec)
    program = training.program(task.spec)
    folder = tmp_path / "run"
    image_run(tmp_path)
    assert "the mapping Silent does not tell one" in Page(render(folder, program, task)).text


def test_the_class_map_tells_the_strongest_first(tmp_path):
    program, _ = image_run(tmp_path, mapping=Linear())
    table = program.mapping.table().detach()
    table = table - table.mean(1, keepdim=True)
    names = program.source.output.names or [f"class {i}" for i in range(len(table))]
    shown = Page(sections.class_map(program))
    said = [word.strip() for word in shown.words if word.strip() in names]
    wanted = [names[i] for t in range(3) for i in table[:, t].argsort(descending=True)[:5].tolist()]
    assert said == wanted


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
@pytest.mark.parametrize(("rows", "classes"), [(1, 1), (5, 2), (60, 3), (60, 10), (200, 40)])
def test_the_choice_covers_classes_right_and_wrong(seed, share, rows, classes):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(classes, (rows,), generator=generator)
    right = torch.rand(rows, generator=generator) >= share
    chosen = content.choose(targets, right, seed=seed)
    assert chosen == content.choose(targets, right, seed=seed)
    assert len(set(chosen)) == len(chosen) == min(10, rows)
    wrong = int((~right[chosen]).sum())
    assert wrong >= min(2, int((~right).sum()), max(len(chosen) - 2, 1))
    assert len(chosen) - wrong >= min(2, int(right.sum()), max(len(chosen) - 2, 0))
    if 0.0 < share < 1.0 and rows >= 60:
        kinds = [set(targets[right].tolist()), set(targets[~right].tolist())]
        assert len(set(targets[chosen].tolist())) >= min(8, classes, len(kinds[0]))


def test_a_confusion_matrix_counts(tmp_path):
    program, task = image_run(tmp_path)
    predicted = content.predict(program, task)
    assert predicted is not None and predicted.name == "test"
    counts = predicted.confusion()
    brute = torch.zeros(3, 3)
    for true, best in zip(task.test.targets.tolist(), predicted.best.tolist(), strict=True):
        brute[true, best] += 1
    assert torch.equal(counts, brute)
    share = float(counts.diag().sum() / counts.sum())
    assert share == pytest.approx(program.metrics["test"]["accuracy"])


def test_many_classes_become_heat_and_words():
    names = tuple(f"class {i}" for i in range(40))
    targets = torch.arange(80) % 40
    scores = torch.eye(40)[(targets + (targets == 3)).clamp(max=39)]
    rows = content.Split(torch.zeros(80, 1), targets, torch.ones(80), tuple(map(str, range(80))))
    page = Page(sections.mistakes(content.Predicted("test", rows, scores), names))
    (heat,) = page.pixels()
    assert heat.shape == (40, 40, 3)
    assert page.words[-3:] == ["class 3", "class 4", "2"]


@pytest.mark.parametrize(("lower", "upper"), [(0.0, 1.0), (-3.7, 12.0), (0.5, 0.5), (1e-5, 3e-5)])
def test_ticks_hold_the_values(lower, upper):
    levels = svg.ticks(lower, upper)
    assert levels[0] <= lower <= upper <= levels[-1]
    assert 2 <= len(levels) <= 8 and levels == sorted(set(levels))


@pytest.mark.parametrize("length", [1, 2, 640, 641, 16000])
def test_lines_of_any_length(length):
    drawn = svg.line(torch.randn(2, length), (-1.0, 1.0), "noise")
    assert "nan" not in drawn and len(drawn) < 60_000
    Page(drawn)


def test_an_envelope_misses_no_peak():
    row = torch.zeros(16000)
    row[12345], row[77] = 5.0, -3.0
    low, high = svg.envelope(row)
    assert max(high) == 5.0 and min(low) == -3.0


def test_what_is_not_finite_is_drawn_all_the_same():
    x = torch.tensor([[0.0, float("nan")], [float("inf"), -1.0]])
    assert Page(pictures.heat(x, "odd")).pixels()[0].shape == (2, 2, 3)
    assert Page(pictures.image(x[None], 0.0, 1.0, "odd")).pixels()[0].shape == (2, 2, 3)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("file /a/b c/d.csv is gone", "file b c/d.csv is gone"),
        ("no '/home/me/x.csv'", "no 'x.csv'"),
        ("~/data/x.csv", "x.csv"),
        ("hf:/models/mine", "hf:mine"),
        ("zoo:speech-commands#log-mel", "zoo:speech-commands#log-mel"),
        ("https://arxiv.org/abs/1 and/or 3 / 4", "https://arxiv.org/abs/1 and/or 3 / 4"),
    ],
)
def test_absolute_paths_become_names(written, told):
    assert html.without_folders(written) == told


def test_markup_escapes_by_construction():
    assert html.tag("p", "<i>", html.tag("b", "&"), title='"') == (
        '<p title="&quot;">&lt;i&gt;<b>&amp;</b></p>'
    )
