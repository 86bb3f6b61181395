"""Mappings that count, against brute force and against transcriptions of their formulas."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from reprogram.mappings import (
    Bayesian,
    Discriminant,
    Frequency,
    Iterative,
    Linear,
    Logistic,
    Semantic,
)
from reprogram.mappings.counts import assign, count
from reprogram.mappings.discriminant import discriminant, shrunk
from reprogram.sources import CallableSource
from reprogram.types import InputSpec, OutputSpec, TaskSpec, UserError


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bound(mapping, classes: int, targets: int):
    spec = OutputSpec("classes", (classes,), tuple(f"name {i}" for i in range(classes)))
    source = CallableSource(len, InputSpec("table", (2,)), spec)
    names = tuple(map(str, range(targets)))
    mapping.bind(source, TaskSpec("toy", InputSpec("table", (2,)), names))
    return mapping


def batches(n: int, classes: int, targets: int, seed: int = 0) -> list[tuple[Tensor, ...]]:
    output = 3 * torch.randn(n, classes, generator=generator(seed))
    target = torch.randint(targets, (n,), generator=generator(seed + 1))
    return [(output[i], target[i], torch.ones(len(i))) for i in torch.arange(n).split(7)]


def counted(seen: list[tuple[Tensor, ...]], classes: int, targets: int) -> Tensor:
    """N[s, t] sample by sample."""
    table = torch.zeros(classes, targets)
    for output, target, weight in seen:
        for z, t, w in zip(output, target, weight, strict=True):
            table[z.argmax(), t] += w
    return table


def greedy(counts: Tensor, size: int) -> list[list[int]]:
    """The papers' loop: the largest entry of all, strike its row, strike the full column."""
    table, targets = counts.clone(), counts.shape[1]
    groups: list[list[int]] = [[] for _ in range(targets)]
    for _ in range(targets * size):
        s, t = divmod(int(table.flatten().argmax()), targets)  # argmax of the first of equals
        groups[t].append(s)
        table[s] = -1
        if len(groups[t]) == size:
            table[:, t] = -1
    return groups


# --- counting and assigning ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("classes", "targets", "size"),
    [
        (s, t, m)
        for s, t, m in itertools.product((2, 5, 12, 40), (1, 2, 4), (1, 2, 3))
        if t * m <= s
    ],
)
@pytest.mark.parametrize("most", [1, 3, 1000])  # small counts: many ties
def test_assign_is_the_greedy_loop(classes: int, targets: int, size: int, most: int) -> None:
    for seed in range(5):
        counts = torch.randint(most, (classes, targets), generator=generator(seed)).float()
        found = assign(counts, size).tolist()
        assert found == greedy(counts, size)


def test_every_table_of_a_small_size_is_assigned_as_the_loop_does() -> None:
    for values in itertools.product(range(3), repeat=6):
        counts = torch.tensor(values).reshape(3, 2).float()
        assert assign(counts).tolist() == greedy(counts, 1)


def test_assign_finds_the_best_pairs_where_no_two_targets_want_the_same() -> None:
    counts = torch.eye(6)[[3, 1, 5]].T * 9 + torch.rand(6, 3, generator=generator(0))
    best = max(
        itertools.permutations(range(6), 3),
        key=lambda rows: sum(float(counts[s, t]) for t, s in enumerate(rows)),
    )
    assert assign(counts)[:, 0].tolist() == list(best) == [3, 1, 5]


def test_counting_ignores_rows_without_a_label_and_changes_no_input() -> None:
    counts = torch.zeros(4, 2)
    predicted, target = torch.tensor([3, 3, 1]), torch.tensor([1, 1, 0])
    count(counts, predicted, target, torch.tensor([1.0, 0.0, 2.0]))
    assert counts.tolist() == [[0, 0], [2, 0], [0, 0], [0, 1]]
    assert predicted.tolist() == [3, 3, 1]


# --- the mappings --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("make", [Frequency, Iterative])
def test_the_first_map_is_that_of_one_pass(make, size: int) -> None:
    seen = batches(60, 9, 3)
    mapping = bound(make(size=size), 9, 3)
    mapping.begin_epoch(0, lambda: seen)
    assert mapping.index.tolist() == greedy(counted(seen, 9, 3), size)


def test_frequency_stays_and_iterative_moves() -> None:
    first, later = batches(60, 9, 3), batches(60, 9, 3, seed=5)
    fixed, moving = bound(Frequency(), 9, 3), bound(Iterative(), 9, 3)
    for mapping in (fixed, moving):
        mapping.begin_epoch(0, lambda: first)
        for batch in later:
            mapping.observe(*batch)
        mapping.begin_epoch(1, lambda: pytest.fail("no second pass was asked for"))
    assert fixed.index.tolist() == greedy(counted(first, 9, 3), 1)
    assert moving.index.tolist() == greedy(counted(later, 9, 3), 1)


@pytest.mark.parametrize("make", [Iterative, Bayesian, lambda **k: Bayesian(top=2, **k)])
def test_a_fresh_pass_of_an_unchanged_program_gives_the_same_map(make) -> None:
    seen = batches(60, 9, 3)
    streaming, fresh = bound(make(), 9, 3), bound(make(fresh_pass=True), 9, 3)
    for mapping in (streaming, fresh):
        for epoch in range(3):
            mapping.begin_epoch(epoch, lambda: seen)
            for batch in seen[::-1]:
                mapping.observe(*batch)
    torch.testing.assert_close(streaming.table(), fresh.table())


@pytest.mark.parametrize("smoothing", [0.3, 1.0])
def test_bayesian_is_its_formula(smoothing: float) -> None:
    seen, classes, targets = batches(50, 6, 3), 6, 3
    mapping = bound(Bayesian(smoothing=smoothing), classes, targets)
    mapping.begin_epoch(0, lambda: seen)
    n = counted(seen, classes, targets)
    omega = torch.zeros(classes, targets)
    for s, t in itertools.product(range(classes), range(targets)):
        omega[s, t] = n[s, t] / (sum(n[s]) + smoothing)
    for t in range(targets):
        omega[:, t] /= sum(omega[:, t])
    torch.testing.assert_close(mapping.omega, omega)
    z = seen[0][0]
    torch.testing.assert_close(mapping(z), z @ omega)


@pytest.mark.parametrize(("top", "k"), [(0.15, 1), (0.7, 2), (3, 3), (99, 6), (1, 1)])
def test_bayesian_plus_counts_the_mass_of_the_top_classes(top: float, k: int) -> None:
    seen, classes, targets = batches(50, 6, 3), 6, 3
    mapping = bound(Bayesian(top=top), classes, targets)
    for batch in seen:
        mapping.observe(*batch)
    n = torch.zeros(classes, targets)
    for output, target, _ in seen:
        for z, t in zip(output, target, strict=True):
            p = z.softmax(0)
            for s in sorted(range(classes), key=lambda s: -float(p[s]))[:k]:
                n[s, t] += p[s]
    torch.testing.assert_close(mapping.counts, n)


@pytest.mark.parametrize(
    "make", [Bayesian, lambda: Bayesian(top=2), Discriminant, Logistic, Frequency]
)
def test_a_class_that_is_absent_drops_no_sample_and_makes_no_nan(make) -> None:
    """The published code numbers classes by those met, and so drops the last one."""
    output = torch.eye(5)[[4, 4, 1, 1]] * 3
    target = torch.tensor([0, 0, 3, 3])  # classes 1 and 2 of 4 have no sample
    mapping = bound(make(), 5, 4)
    mapping.begin_epoch(0, lambda: [(output, target, torch.ones(4))])
    scores = mapping(output)
    assert scores.isfinite().all()
    assert scores[:, [0, 3]].argmax(1).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    "make", [Bayesian, lambda: Bayesian(top=2), Discriminant, Logistic, Iterative]
)
def test_no_sample_at_all_is_no_nan(make) -> None:
    mapping = bound(make(), 5, 4)
    mapping.begin_epoch(0, list)
    assert mapping(torch.randn(3, 5)).isfinite().all()
    mapping.begin_epoch(1, list)
    assert mapping(torch.randn(3, 5)).isfinite().all()


def test_discriminant_is_the_log_posterior_of_its_gaussians() -> None:
    seen, classes, targets = batches(400, 4, 3), 4, 3
    mapping = bound(Discriminant(), classes, targets)
    mapping.begin_epoch(0, lambda: seen)
    z = torch.cat([b[0] for b in seen]).double()
    z, y = z - z.mean(1, keepdim=True), torch.cat([b[1] for b in seen])
    means = torch.stack([z[y == t].mean(0) for t in range(targets)])
    within = sum((z[y == t] - means[t]).T @ (z[y == t] - means[t]) for t in range(targets)) / 400
    normal = [
        torch.distributions.MultivariateNormal(m, shrunk(within, 400.0)).log_prob(z) for m in means
    ]
    prior = (torch.bincount(y) + 1).double().log()
    posterior = (torch.stack(normal, 1) + prior).log_softmax(1)
    told = mapping(torch.cat([b[0] for b in seen])).log_softmax(1)
    torch.testing.assert_close(told.double(), posterior, atol=1e-4, rtol=1e-4)


def test_the_shrinkage_is_its_formula_and_near_scikit_learns() -> None:
    from sklearn.covariance import oas

    d, n = 40, 30
    x = torch.randn(n, d, generator=generator(0), dtype=torch.double) * torch.arange(1, d + 1)
    s = (x.T @ x / n).numpy()
    traced, squared = s.trace(), (s @ s).trace()
    rho = ((1 - 2 / d) * squared + traced**2) / ((n + 1 - 2 / d) * (squared - traced**2 / d))
    found = shrunk(torch.from_numpy(s), float(n)).numpy()
    assert found == pytest.approx((1 - rho) * s + rho * traced / d * torch.eye(d).numpy())
    theirs, _ = oas(x.numpy(), assume_centered=True)  # leaves the terms 2 / d out
    assert abs(found - theirs).max() < 0.01 * abs(theirs).max()


@pytest.mark.parametrize(
    "covariance", [torch.zeros(3, 3), torch.eye(3), torch.diag(torch.tensor([1.0, 0, 0]))]
)
def test_whatever_is_shrunk_can_be_inverted(covariance) -> None:
    assert torch.linalg.inv(shrunk(covariance, 10.0)).isfinite().all()


def test_the_discriminant_follows_what_it_sees_and_forgets() -> None:
    first, later = batches(70, 5, 3), batches(700, 5, 3, seed=5)
    mapping = bound(Discriminant(memory=0.5, every=1), 5, 3)
    mapping.samples = 35.0
    mapping.begin_epoch(0, lambda: first)
    for step, batch in enumerate(later):
        mapping.observe(*batch)
        mapping.advance(step, len(later))
    assert float(mapping.moments.number.sum()) == pytest.approx(
        35 + 3.5, abs=0.5
    )  # a geometric sum
    fresh = bound(Discriminant(), 5, 3)
    for batch in later[-40:]:
        fresh.moments.fade(math.exp(-7 / 35))
        fresh.moments.add(*batch)
    fresh.refit()
    torch.testing.assert_close(mapping.weight, fresh.weight, atol=2e-2, rtol=2e-2)


def test_logistic_climbs_to_the_likelihood_of_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression

    classes, targets, n = 6, 3, 600
    mix = torch.randn(classes, classes, generator=generator(1)) * torch.logspace(0, -2, classes)
    z = torch.randn(n, classes, generator=generator(2)).exp() @ mix  # skewed, badly conditioned
    z = z - z.mean(1, keepdim=True)
    true = torch.linalg.pinv(mix) @ torch.randn(classes, targets, generator=generator(3))
    logits = z @ true
    chances = (2 * logits / logits.std()).softmax(1)
    y = torch.multinomial(chances, 1, generator=generator(4))[:, 0]
    mapping = bound(Logistic(rate=0.5, every=5), classes, targets)
    parts = [(z[i], y[i], torch.ones(len(i))) for i in torch.arange(n).split(50)]
    mapping.begin_epoch(0, lambda: parts)

    def loss() -> float:
        return float(torch.nn.functional.cross_entropy(mapping(z), y))

    first, steps = loss(), 100 * len(parts)
    for step in range(steps):
        before = mapping.weight.clone()
        mapping.observe(*parts[step % len(parts)])
        assert torch.equal(mapping.weight, before)  # the batch's own loss sees the old map
        mapping.advance(step, steps)
    best = LogisticRegression(C=1e6, max_iter=5000).fit(z.numpy(), y.numpy())
    wanted = float(torch.nn.functional.nll_loss(torch.tensor(best.predict_log_proba(z)), y))
    assert loss() < first
    assert loss() == pytest.approx(wanted, abs=0.02)


def test_a_step_of_logistic_is_its_formula() -> None:
    output, target, weight = batches(70, 5, 3)[0]
    weight = torch.linspace(0, 1, 7)
    mapping = bound(Logistic(rate=0.2), 5, 3)
    mapping.begin_epoch(0, lambda: batches(70, 5, 3))
    w, b, mean, inverse = (
        getattr(mapping, n).double() for n in ("weight", "bias", "mean", "inverse")
    )
    z = output.double() - output.double().mean(1, keepdim=True)
    change, shift = torch.zeros(3, 5).double(), torch.zeros(3).double()
    for i in range(7):
        p = (w @ z[i] + b).softmax(0)
        p[target[i]] -= 1
        change += weight[i] / weight.sum() * torch.outer(p, inverse @ (z[i] - mean))
        shift += weight[i] / weight.sum() * p
    mapping.observe(output, target, weight)
    mapping.advance(0, 10)
    torch.testing.assert_close(mapping.weight.double(), w - 0.2 * change, atol=1e-5, rtol=1e-4)
    wanted = b - 0.2 * (shift - change @ mean)
    torch.testing.assert_close(mapping.bias.double(), wanted, atol=1e-5, rtol=1e-4)


def test_a_task_that_tells_no_counts_is_not_forgotten() -> None:
    mapping = bound(Discriminant(), 5, 3)
    for batch in batches(70, 5, 3):
        mapping.observe(*batch)
    assert float(mapping.moments.number.sum()) == 70


def test_the_discriminant_is_refitted_every_so_many_steps() -> None:
    mapping = bound(Discriminant(every=3), 5, 3)
    mapping.begin_epoch(0, lambda: batches(70, 5, 3))
    moved = []
    for step, batch in enumerate(batches(63, 5, 3, seed=9)):
        before = mapping.weight.clone()
        mapping.observe(*batch)
        mapping.advance(step, 9)
        moved.append(not torch.equal(before, mapping.weight))
    assert moved == [False, False, True] * 3


def test_the_discriminant_weighs_rows() -> None:
    output, target, weight = batches(30, 4, 2)[0]
    twice = [(torch.cat([output, output]), torch.cat([target, target]), torch.ones(14))]
    heavy = [(output, target, 2 * weight)]
    a, b = (bound(Discriminant(), 4, 2) for _ in range(2))
    a.begin_epoch(0, lambda: twice)
    b.begin_epoch(0, lambda: heavy)
    torch.testing.assert_close(a.weight, b.weight)


def test_a_linear_map_may_start_at_the_discriminant() -> None:
    seen = batches(60, 5, 3)
    closed, trained = bound(Discriminant(), 5, 3), bound(Linear(start="discriminant"), 5, 3)
    for mapping in (closed, trained):
        mapping.begin_epoch(0, lambda: seen)
    torch.testing.assert_close(trained(seen[0][0]), closed(seen[0][0]))
    before = trained.weight.clone()
    trained.begin_epoch(1, lambda: pytest.fail("one pass is enough"))
    assert torch.equal(trained.weight, before)


def test_the_moments_are_enough() -> None:
    number = torch.tensor([2.0, 0.0]).double()
    weight, bias = discriminant(number, torch.ones(2, 3).double(), torch.eye(3).double())
    assert weight.isfinite().all() and bias.isfinite().all()


def test_semantic_pairs_what_is_spelled_alike() -> None:
    names = ("sports car", "tiger cat", "space shuttle", "cat flap", "car wheel", "dog")
    source = CallableSource(len, InputSpec("table", (2,)), OutputSpec("classes", (6,), names))
    mapping = Semantic(size=2)
    mapping.bind(source, TaskSpec("toy", InputSpec("table", (2,)), ("cat", "car", "dogs")))
    mapping.begin_epoch(0, lambda: pytest.fail("names need no query"))
    told = {t: {names[i] for i in row} for t, row in enumerate(mapping.index.tolist())}
    assert told[0] == {"tiger cat", "cat flap"}
    assert told[1] == {"sports car", "car wheel"}
    assert "dog" in told[2]


def test_semantic_needs_names() -> None:
    source = CallableSource(len, InputSpec("table", (2,)), OutputSpec("classes", (6,)))
    with pytest.raises(UserError, match="Semantic compares names of classes, and source given has"):
        Semantic().bind(source, TaskSpec("toy", InputSpec("table", (2,)), ("a", "b")))


def test_a_text_encoder_of_transformers_is_asked(tmp_path) -> None:
    transformers = pytest.importorskip("transformers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "cat", "car", "sports", "tiger"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=8,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(tmp_path)
    spec = OutputSpec("classes", (3,), ("car", "tiger", "cat"))
    source = CallableSource(len, InputSpec("table", (2,)), spec)
    mapping = Semantic(encoder=f"hf:{tmp_path}")
    mapping.bind(source, TaskSpec("toy", InputSpec("table", (2,)), ("cat", "car")))
    mapping.begin_epoch(0, list)
    assert mapping.index[:, 0].tolist() == [2, 0]  # the same word is the nearest
