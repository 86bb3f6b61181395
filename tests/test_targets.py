"""What a task asks for shows in the shapes: classes, labels with gaps, tokens place by place."""

import dataclasses

import pytest
import torch
from tiny import CLASSES
from torch import nn
from typechecker import unchecked

from reprogram import diagnose, optim, texts
from reprogram.criteria import CrossEntropy
from reprogram.evaluation import evaluate
from reprogram.mappings import Discriminant, Fixed, Frequency, Linear, ManyToOne
from reprogram.predictions import Predictions
from reprogram.sources import TorchSource
from reprogram.tasks import metrics
from reprogram.tasks.base import Split, Task, occurrences
from reprogram.train import Training, fit
from reprogram.transformations import Transformation
from reprogram.types import InputSpec, OutputSpec, TaskSpec, UserError

LABELS = ("toxic", "soluble", "rare")


class Counted(Transformation):
    """Texts to how often each of eight letters occurs, times a trained weight."""

    def bind(self, source, task):
        self.weight = nn.Parameter(torch.ones(8))

    def forward(self, prepared):
        return (prepared[..., None] == torch.arange(97, 105)).float().sum(1) * self.weight

    def tally(self, x):
        return {"tokens": int((x > 0).sum()), "unknown": int((x > 104).sum())}


def a_source(kind="classes", width=CLASSES):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, width))
    return TorchSource(module, OutputSpec(kind, (width,)), input=InputSpec("table", (8,)))


def a_split(n, seed):
    generator = torch.Generator().manual_seed(seed)
    letters = torch.randint(97, 106, (n, 12), generator=generator)
    words = texts.decode(letters)
    yes = torch.stack([(letters == 97).any(1), (letters == 98).any(1), (letters > 104).any(1)], 1)
    weights = (torch.rand(n, 3, generator=generator) > 0.3).float()
    weights[0] = 0
    return Split(texts.encode(words), yes.long(), weights, tuple(f"r{seed}.{i}" for i in range(n)))


def a_task():
    train = a_split(96, 0)
    spec = TaskSpec("toy", InputSpec("text", (12,), 0, 1114111), LABELS, target="labels")
    spec = dataclasses.replace(spec, counts=occurrences(spec, train))
    return Task(spec, train, a_split(40, 1), a_split(80, 2))


def a_training(mapping, source=None, **numbers):
    step = optim.default(True, learning_rate=0.05)
    source = source or a_source()
    return Training(source, Counted(), mapping, step, epochs=30, batch_size=32, **numbers)


@pytest.mark.parametrize("mapping", [Linear, lambda: Fixed(labels="random"), ManyToOne])
def test_a_program_of_labels(mapping) -> None:
    task = a_task()
    program = fit(a_training(mapping()), task)
    assert set(program.metrics["test"]) == {"loss", "accuracy", "roc_auc", "pr_auc"}
    assert program.metrics["source_unchanged"]
    assert program.metrics["read"]["test"]["tokens"] == 80 * 12
    told = program.predict(["abcdefgh", "b"])
    assert told.scores.shape == (2, 3) and (told.probabilities <= 1).all()
    assert torch.equal(told.scores, program.predict(texts.encode(["abcdefgh", "b"])).scores)
    for label in told.labels:
        assert all(part in LABELS for part in label.split(",") if part)
    assert evaluate(program, task.test) == pytest.approx(program.metrics["test"])


def test_labels_can_be_learned_and_gaps_are_not_read() -> None:
    task = a_task()
    program = fit(a_training(Linear()), task)
    assert program.metrics["test"]["roc_auc"] > 0.8
    train = task.train
    flipped = torch.where(train.weights > 0, train.targets, 1 - train.targets)
    other = dataclasses.replace(task, train=dataclasses.replace(train, targets=flipped))
    same = fit(a_training(Linear()), other)
    for name, tensor in program.tensors().items():
        assert torch.equal(tensor, same.tensors()[name]), name


@pytest.mark.parametrize("mapping", [Frequency, Discriminant])
def test_maps_of_counted_classes_refuse_labels(mapping) -> None:
    with pytest.raises(UserError, match="asks for labels: use Linear"):
        mapping().bind(a_source(), a_task().spec)


def test_groups_are_refused_where_two_a_label_do_not_fit() -> None:
    with pytest.raises(UserError, match="6 target classes for 5 source classes"):
        Fixed().bind(a_source(width=5), a_task().spec)


def test_a_label_is_yes_against_no() -> None:
    mapping = Fixed()
    mapping.bind(a_source(), a_task().spec)
    output = torch.randn(4, CLASSES)
    expected = output[:, [1, 3, 5]] - output[:, [0, 2, 4]]
    assert torch.allclose(mapping(output), expected)


def test_a_linear_map_reads_an_embedding_as_it_is() -> None:
    spec = dataclasses.replace(a_task().spec, target="classes")
    mapping = Linear()
    mapping.bind(a_source("embedding"), spec)
    output = torch.randn(4, CLASSES)
    assert not torch.allclose(mapping(output), mapping(output + 1))
    mapping.bind(a_source("classes"), spec)
    assert torch.allclose(mapping(output), mapping(output + 1), atol=1e-6)


def test_controls_of_labels() -> None:
    task = a_task()
    assert diagnose.majority(task)["roc_auc"] == 0.5
    probe = diagnose.linear_probe(a_training(Linear()), task)
    assert probe["roc_auc"] > 0.8


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_of_each_kind_against_the_formula(smoothing) -> None:
    generator = torch.Generator().manual_seed(0)
    criterion = CrossEntropy(label_smoothing=smoothing)
    weight = torch.rand(5, 3, generator=generator)
    logits, yes = torch.randn(5, 3, generator=generator), torch.randint(0, 2, (5, 3))
    p, q = logits.sigmoid(), yes * (1 - smoothing) + smoothing / 2
    expected = -(weight * (q * p.log() + (1 - q) * (1 - p).log())).sum(1)
    assert torch.allclose(criterion(logits, yes, weight), expected, atol=1e-5)
    scores, tokens = torch.randn(5, 3, 4, generator=generator), torch.randint(0, 4, (5, 3))
    log_p = scores.log_softmax(2)
    q = nn.functional.one_hot(tokens, 4) * (1 - smoothing) + smoothing / 4
    expected = -(weight * (q * log_p).sum(2)).sum(1)
    assert torch.allclose(criterion(scores, tokens, weight), expected, atol=1e-5)


def test_class_weights_are_for_classes() -> None:
    with pytest.raises(UserError, match="'class_weights' is for classes"):
        CrossEntropy(class_weights="balanced").bind(a_source(), a_task().spec)


def test_metrics_of_labels_against_scikit_learn() -> None:
    from sklearn.metrics import average_precision_score, roc_auc_score

    split = a_split(80, 3)
    logits = torch.randn(80, 3, generator=torch.Generator().manual_seed(1)).double()
    kept = split.weights > 0
    pairs = [(split.targets[kept[:, k], k], logits[kept[:, k], k]) for k in range(3)]
    found = metrics(logits, split.targets, split.weights)
    roc = sum(roc_auc_score(*pair) for pair in pairs) / 3
    pr = sum(average_precision_score(*pair) for pair in pairs) / 3
    assert found["roc_auc"] == pytest.approx(roc) and found["pr_auc"] == pytest.approx(pr)


def test_a_label_without_both_answers_has_no_area() -> None:
    targets, weights = torch.tensor([[1, 0], [1, 1]]), torch.ones(2, 2)
    found = metrics(torch.tensor([[1.0, -1.0], [1.0, 2.0]]), targets, weights)
    assert found["roc_auc"] == 1.0 and found["accuracy"] == 1.0


def test_tokens_are_told_by_their_recovery() -> None:
    targets, weights = torch.tensor([[0, 1, 2], [2, 2, 0]]), torch.tensor([[1.0, 1, 0], [0, 0, 1]])
    scores = nn.functional.one_hot(torch.tensor([[0, 2, 0], [0, 0, 0]]), 3).float()
    assert metrics(scores, targets, weights) == {"accuracy": pytest.approx(2 / 3)}


def test_predicted_tokens_are_a_text() -> None:
    scores = nn.functional.one_hot(torch.tensor([[0, 2, 1]]), 3).float().log_softmax(2)
    assert Predictions(("A", "C", "G"), scores, "tokens").labels == ["AGC"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("abc", "is one text"),
        (["a", ""], "sample 1 is an empty text"),
        (["a", 3], "holds something that is no text"),
    ],
)
def test_texts_that_are_none_are_refused(given, message) -> None:
    program = fit(a_training(Linear()), a_task())
    with unchecked(), pytest.raises(UserError, match=message):
        program.predict(given)


@pytest.mark.parametrize("given", [["naïve", "日本語 🙂", ""], ["\ud800x"], []])
def test_texts_come_back_from_their_code_points(given) -> None:
    assert texts.decode(texts.encode(given).float()) == given
