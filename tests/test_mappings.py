"""The laws of output mappings; a new one joins by one line of ``CASES``."""

import itertools
import json
import math
from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from typechecker import unchecked

from reprogram import mappings, parts
from reprogram.mappings import (
    Bayesian,
    Discriminant,
    Fixed,
    Frequency,
    Iterative,
    Linear,
    Logistic,
    ManyToOne,
    Mapping,
    Semantic,
)
from reprogram.sources import CallableSource
from reprogram.types import InputSpec, OutputSpec, TaskSpec, UserError

CASES: dict[str, Callable[[], Mapping]] = {
    "Fixed first": Fixed,
    "Fixed random": lambda: Fixed(labels="random", seed=5),
    "Fixed given": lambda: Fixed(labels=[6, 0, 2]),
    "ManyToOne": lambda: ManyToOne(seed=2),
    "ManyToOne ordered": lambda: ManyToOne(groups="ordered"),
    "ManyToOne size": lambda: ManyToOne(size=1),
    "ManyToOne logits": lambda: ManyToOne(average="logits"),
    "Linear": lambda: Linear(seed=4),
    "Linear from the discriminant": lambda: Linear(start="discriminant"),
    "Frequency": Frequency,
    "Frequency size": lambda: Frequency(size=2, average="logits"),
    "Iterative": Iterative,
    "Iterative fresh": lambda: Iterative(size=2, fresh_pass=True),
    "Bayesian": Bayesian,
    "Bayesian top": lambda: Bayesian(top=2, smoothing=0.5),
    "Bayesian share": lambda: Bayesian(top=0.9, fresh_pass=True),
    "Discriminant": Discriminant,
    "Discriminant quick": lambda: Discriminant(memory=2.0, every=1),
    "Logistic": Logistic,
    "Logistic quick": lambda: Logistic(rate=0.5, memory=2.0, every=1),
    "Semantic": Semantic,
    "Semantic size": lambda: Semantic(size=2, average="probabilities"),
}

SOURCE_CLASSES, TARGETS = 7, 3


@pytest.fixture(params=CASES, name="make")
def _make(request) -> Callable[[], Mapping]:
    return CASES[request.param]


def a_source(classes: int = SOURCE_CLASSES, kind="classes") -> CallableSource:
    names = tuple("abcdefghij"[i % 10] * (i + 1) for i in range(classes))
    return CallableSource(len, InputSpec("table", (2,)), OutputSpec(kind, (classes,), names))


def a_task(targets: int = TARGETS) -> TaskSpec:
    return TaskSpec("toy", InputSpec("table", (2,)), tuple(map(str, range(targets))))


def bound(mapping: Mapping, classes: int = SOURCE_CLASSES, targets: int = TARGETS) -> Mapping:
    """Bound, and begun as fit begins it."""
    mapping.bind(a_source(classes), a_task(targets))
    output = logits(40, classes)
    batch = output, torch.arange(40) % targets, torch.ones(40)
    mapping.begin_epoch(0, lambda: [batch])
    return mapping


def logits(rows: int = 5, classes: int = SOURCE_CLASSES, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(rows, classes, generator=torch.Generator().manual_seed(0))


def test_every_public_mapping_stands_under_the_laws() -> None:
    elsewhere = {"CellScores", "Mapping", "Pixels", "Ranked", "TokenLinear", "Verbalizer"}
    assert {type(make()).__name__ for make in CASES.values()} == set(mappings.__all__) - elsewhere


@pytest.mark.parametrize("scale", [0.0, 3.0, 1e4])
def test_scores_are_finite_and_of_the_target(make, scale: float) -> None:
    scores = bound(make())(logits(scale=scale))
    assert scores.shape == (5, TARGETS)
    assert scores.isfinite().all()
    assert bound(make())(logits(0)).shape == (0, TARGETS)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_scores_of_any_precision_are_read(make, dtype: torch.dtype) -> None:
    mapping = bound(make())
    scores = mapping(logits().to(dtype))
    torch.testing.assert_close(scores.float(), mapping(logits()), atol=0.3, rtol=0.1)


def test_gradient_flows_to_the_output_and_every_parameter(make) -> None:
    mapping, output = bound(make()), logits().requires_grad_()
    torch.nn.functional.cross_entropy(mapping(output), torch.tensor([0, 1, 2, 0, 1])).backward()
    assert output.grad is not None
    assert output.grad.isfinite().all()
    assert output.grad.any(1).all()  # of every sample
    for name, parameter in mapping.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


def test_the_output_is_not_changed(make) -> None:
    mapping, output = bound(make()), logits()
    mapping.observe(output, torch.zeros(5).long(), torch.ones(5))
    mapping(output)
    mapping.advance(0, 1)
    assert torch.equal(output, logits())


def test_prediction_does_not_know_the_constant_of_log_scores(make) -> None:
    mapping, shift = bound(make()), torch.linspace(-4, 4, 5)[:, None]
    torch.testing.assert_close(
        mapping(logits() + shift).log_softmax(1), mapping(logits()).log_softmax(1),
        atol=1e-5, rtol=1e-5,
    )  # fmt: skip


def test_described_and_built_again(make) -> None:
    mapping = make()
    described = json.loads(json.dumps(parts.describe(mapping)))
    again = parts.build("mappings", described)
    assert parts.describe(again) == described
    assert torch.equal(bound(again)(logits()), bound(mapping)(logits()))


def test_saved_and_loaded_gives_the_same(make, tmp_path) -> None:
    mapping = bound(make())
    with torch.no_grad():
        for parameter in mapping.parameters():
            parameter += torch.randn(parameter.shape)
    save_file(mapping.state_dict(), tmp_path / "mapping.safetensors")
    again = bound(make())
    again.load_state_dict(load_file(tmp_path / "mapping.safetensors"))
    assert torch.equal(again(logits()), mapping(logits()))


def test_bound_twice_is_bound_the_same(make) -> None:
    mapping = bound(make())
    first = mapping(logits())
    torch.rand(3)
    assert torch.equal(bound(mapping)(logits()), first)


def test_needs_classes(make) -> None:
    if isinstance(make(), Linear):
        pytest.skip("it reads any vector")
    with pytest.raises(UserError, match="reads class scores; source given returns 'embedding'"):
        make().bind(a_source(kind="embedding"), a_task())


@pytest.mark.parametrize(
    "make", [Fixed, lambda: Fixed(labels="random"), ManyToOne, Frequency, Iterative, Semantic]
)
def test_more_targets_than_sources_are_refused(make) -> None:
    with pytest.raises(UserError, match=r"8 target classes.* 7 source classes.*linear mapping"):
        bound(make(), 7, 8)


@pytest.mark.parametrize("make", [Linear, Bayesian, Discriminant, Logistic])
def test_these_serve_more_targets_than_sources(make) -> None:
    assert bound(make(), 3, 8)(logits(classes=3)).shape == (5, 8)


def test_the_table_tells_what_the_mapping_does(make) -> None:
    mapping = bound(make())
    table = mapping.table()
    assert table.shape == (SOURCE_CLASSES, TARGETS)
    assert not table.requires_grad
    if getattr(mapping, "average", "logits") == "logits":  # a linear map of the centred scores
        z = logits() - logits().mean(1, keepdim=True)
        told, said = z @ table, mapping(logits()).detach()
        shift = (said - told) - (said - told)[:1]  # the bias is the same for every sample
        torch.testing.assert_close(shift, shift[:, :1].expand_as(shift), atol=1e-4, rtol=1e-4)


# --- against slow transcriptions -----------------------------------------------------------------


@pytest.mark.parametrize("make", [Fixed, lambda: Fixed(labels="random", seed=1),
                                  lambda: Fixed(labels=[3, 6, 1])])  # fmt: skip
def test_fixed_reads_its_labels(make) -> None:
    mapping = bound(make())
    index = mapping.get_buffer("index").tolist()
    scores = mapping(logits())
    for row, t in itertools.product(range(5), range(TARGETS)):
        assert scores[row, t] == logits()[row, index[t]]
    assert len(set(index)) == TARGETS


def test_fixed_labels() -> None:
    assert bound(Fixed()).get_buffer("index").tolist() == [0, 1, 2]
    assert bound(Fixed(labels=[3, 6, 1])).get_buffer("index").tolist() == [3, 6, 1]
    drawn = {
        tuple(bound(Fixed(labels="random", seed=s)).get_buffer("index").tolist()) for s in range(20)
    }
    assert len(drawn) > 10


@pytest.mark.parametrize("average", ["probabilities", "logits"])
@pytest.mark.parametrize("groups", ["random", "ordered"])
@pytest.mark.parametrize(("classes", "targets", "size"), [(7, 3, None), (9, 3, 2), (4, 4, 1)])
def test_many_to_one_is_the_mean_of_its_group(average, groups, classes, targets, size) -> None:
    mapping = bound(ManyToOne(size=size, average=average, groups=groups), classes, targets)
    members = mapping.get_buffer("index").tolist()
    z = logits(classes=classes)
    scores = mapping(z)
    for row, t in itertools.product(range(5), range(targets)):
        value = [float(v) for v in z[row]]
        if average == "logits":
            wanted = sum(value[s] for s in members[t]) / len(members[t])
        else:
            total = sum(math.exp(v) for v in value)
            wanted = math.log(sum(math.exp(value[s]) / total for s in members[t]) / len(members[t]))
        assert float(scores[row, t]) == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize(
    ("classes", "targets"),
    [(s, t) for s, t in itertools.product((1, 2, 7, 10, 36), (1, 2, 5, 7)) if t <= s],
)
@pytest.mark.parametrize("groups", ["random", "ordered"])
def test_groups_are_disjoint_and_of_one_size(classes: int, targets: int, groups) -> None:
    most = classes // targets
    for size in (None, 1, most):
        index = bound(ManyToOne(size=size, groups=groups), classes, targets).get_buffer("index")
        assert index.shape == (targets, most if size is None else size)
        assert len(index.unique()) == index.numel()
        assert 0 <= index.min() <= index.max() < classes
        if groups == "ordered":
            assert index.flatten().tolist() == list(range(index.numel()))


def test_linear_is_a_linear_map_of_centred_scores() -> None:
    mapping = bound(Linear())
    weight, bias = (mapping.get_parameter(name).detach() for name in ("weight", "bias"))
    scores = mapping(logits()).detach()
    for row, t in itertools.product(range(5), range(TARGETS)):
        mean = sum(float(v) for v in logits()[row]) / SOURCE_CLASSES
        wanted = float(bias[t]) + sum(
            float(weight[t, s]) * (float(logits()[row, s]) - mean) for s in range(SOURCE_CLASSES)
        )
        assert float(scores[row, t]) == pytest.approx(wanted, abs=1e-4)
    assert weight.abs().max() <= 1 / math.sqrt(SOURCE_CLASSES)


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Fixed(labels="last"), "'labels' is 'last'"),
        (lambda: bound(Fixed(labels=[0, 1])), "names 2 different source classes; give 3"),
        (lambda: bound(Fixed(labels=[0, 1, 1])), "names 2 different source classes; give 3"),
        (lambda: bound(Fixed(labels=[0, 1, 7])), "leaves the range 0 to 6"),
        (lambda: bound(Fixed(labels=[0, 1, -1])), "leaves the range 0 to 6"),
        (lambda: ManyToOne(average="median"), "'average' is 'median'"),
        (lambda: ManyToOne(groups="even"), "'groups' is 'even'"),
        (lambda: bound(ManyToOne(size=3)), "3 source classes each do not fit 7.*size 1 to 2"),
        (lambda: bound(ManyToOne(size=0)), "size 1 to 2"),
        (lambda: bound(Frequency(size=3)), "3 source classes each do not fit 7.*size 1 to 2"),
        (lambda: Frequency(average="median"), "'average' is 'median'"),
        (lambda: Semantic(average="median"), "'average' is 'median'"),
        (lambda: Discriminant(memory=0.0), "'memory' is 0.0; give a positive share"),
        (lambda: Discriminant(every=0), "'every' is 0; give 1 or more steps"),
        (lambda: Logistic(rate=0.0), "'rate' is 0.0; give a rate in"),
        (lambda: Logistic(memory=-1.0), "'memory' is -1.0"),
        (lambda: Logistic(every=0), "'every' is 0"),
        (lambda: Linear(start="zeros"), "'start' is 'zeros'"),
        (lambda: bound(Semantic(encoder="sounds")), "'encoder' is 'sounds'"),
        (lambda: bound(Semantic(encoder="hf:./nowhere")), "hf:./nowhere could not be loaded"),
        (lambda: Bayesian(smoothing=0.0), "'smoothing' is 0.0; give a positive number"),
        (lambda: Bayesian(top=0), "'top' is 0"),
        (lambda: Bayesian(top=1.5), "'top' is 1.5"),
    ],
)
def test_a_bad_argument_is_named(make: Callable[[], Mapping], said: str) -> None:
    with unchecked(), pytest.raises(UserError, match=said) as caught:
        make()
    assert "\n" not in str(caught.value)
