"""The vocabulary layer: one table whatever it is made of, gathered, bracketed, folded, saved."""

import json
from collections.abc import Callable
from itertools import combinations

import pytest
import torch
from tiny import black_box
from tiny_text import CLASSES, text_source
from torch import Tensor, nn
from torch.nn import functional as F
from typechecker import unchecked

from reprogram import parts
from reprogram.draws import forked_rng
from reprogram.sources import CallableSource, TorchSource
from reprogram.transformations import (
    Characters,
    Compose,
    DenseRows,
    FreeRows,
    GumbelRows,
    LowRankRows,
    PrototypeRows,
    SparseRows,
    Subspace,
)
from reprogram.transformations.vocabulary.base import Vocabulary, bracketed, copies, gather, normal
from reprogram.transformations.vocabulary.pursuit import pursue, weigh
from reprogram.types import InputSpec, OutputSpec, TaskSpec, Tokens, UserError

TOKENS = 6  # ids 0 to 6, of which 0 is none
IDS = torch.tensor([[2, 3, 6, 1, 4], [5, 1, 0, 0, 0], [3, 3, 3, 0, 0]])
TASK = TaskSpec("toy", InputSpec("tokens", (5,), 0, TOKENS), ("a", "b", "c"))

PARTS: dict[str, Callable[[], Vocabulary]] = {
    "FreeRows": FreeRows,
    "FreeRows context": lambda: FreeRows(context=3, start="copies", seed=2),
    "DenseRows": lambda: DenseRows(context=3),
    "LowRankRows": lambda: LowRankRows(rank=2, context=5, seed=1),
    "SparseRows": lambda: SparseRows(atoms=3),
    "SparseRows context": lambda: SparseRows(atoms=2, context=3, renewed=1, start="copies"),
    "GumbelRows": lambda: GumbelRows(context=1),
    "GumbelRows context": lambda: GumbelRows(context=5, rank=4),
    "GumbelRows straight": lambda: GumbelRows(context=3, straight_through=True),
    "PrototypeRows": lambda: PrototypeRows(prototypes=5, heads=2, size=3, context=3),
}


def _bound(part: Vocabulary, source: TorchSource | None = None) -> Vocabulary:
    part.bind(source or text_source().door("embeddings"), TASK)
    return part


def _moved(part: Vocabulary) -> Vocabulary:
    """Bound, and away from its start."""
    with torch.no_grad(), forked_rng(7, 0):
        for parameter in _bound(part).parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return part


@pytest.fixture(params=PARTS)
def make(request) -> Callable[[], Vocabulary]:
    return PARTS[request.param]


def test_the_source_is_given_what_it_takes(make) -> None:
    source = text_source().door("embeddings")
    tokens = _moved(make())(IDS)
    assert tokens.values.shape == (3, 7, source.input.shape[1])  # with start and end
    assert tokens.mask.tolist() == [[1] * 7, [1] * 4 + [0] * 3, [1] * 5 + [0] * 2]
    assert tokens.position is None
    table, marks = source.lexicon.embeddings, source.lexicon.tokenizer  # pyright: ignore
    for row, n in zip(tokens.values, (5, 2, 3), strict=True):
        assert torch.equal(row[0], table[marks.start])
        assert torch.equal(row[n + 1], table[marks.end])
        assert not row[n + 2 :].any()
    assert source(tokens).shape == (3, CLASSES)
    assert torch.equal(_moved(make()).eval()(IDS.float()).values, _moved(make()).eval()(IDS).values)


def test_every_parameter_is_trained_and_nothing_of_the_source(make) -> None:
    source = text_source().door("embeddings")
    part = _moved(make())
    before = source.fingerprint()
    source(part(IDS)).square().sum().backward()
    for name, parameter in part.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name
    assert not any(p.requires_grad or p.grad is not None for p in source.parameters())
    assert source.fingerprint() == before


def test_saved_and_loaded_it_says_the_same(make) -> None:
    part = _moved(make())
    part.advance(0, 10)
    described = json.loads(json.dumps(parts.describe(part)))
    again = parts.build("transformations", described)
    again.bind(text_source().door("embeddings"), TASK)
    assert {n: t.shape for n, t in again.state_dict().items()} == {
        n: t.shape for n, t in part.state_dict().items()
    }
    again.load_state_dict(part.state_dict())
    assert torch.equal(again.eval()(IDS).values, part.eval()(IDS).values)
    assert not any("dictionary" in name for name in part.state_dict())


def test_samples_do_not_see_one_another_and_none_is_changed(make) -> None:
    part, ids = _moved(make()).eval(), IDS.clone()
    together = part(ids)
    for i in range(3):
        alone = part(ids[i : i + 1])
        places = alone.mask.shape[1]
        torch.testing.assert_close(together.values[i : i + 1, :places], alone.values)
        assert together.mask[i].sum() == alone.mask.sum()
    assert torch.equal(ids, IDS)
    assert part(ids[:0]).values.shape[::2] == (0, together.values.shape[2])


def test_bound_twice_is_bound_the_same(make) -> None:
    part = _bound(make())
    before = {name: tensor.clone() for name, tensor in part.state_dict().items()}
    torch.rand(3)  # the global generator has no say
    state = torch.random.get_rng_state()
    after = _bound(part).state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_seed_repeats(make) -> None:
    one, two = _bound(make()), _bound(make())
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_folded_it_says_the_same(make) -> None:
    source = text_source().door("embeddings")
    part = _moved(make())
    whole = Compose([Characters("ACGT", 5), part])
    whole.bind(source, TaskSpec("toy", InputSpec("text", (5,), 0, 1114111), ("a", "b")))
    folded = whole.folded()
    x = torch.tensor([[65, 67, 71, 84, 78], [65, 65, 0, 0, 0]])
    for model in (whole, folded):
        model.eval()
    prepared = whole.prepare(x)
    assert torch.equal(folded.prepare(x), prepared)
    torch.testing.assert_close(source(folded(prepared)), source(whole(prepared)))
    stays = isinstance(part, GumbelRows) and part.context > 1
    (last,) = next(iter(folded.children()))[1:]  # pyright: ignore
    assert last is part if stays else isinstance(last, FreeRows)
    again = parts.build("transformations", json.loads(json.dumps(parts.describe(folded))))
    again.bind(source, TaskSpec("toy", InputSpec("text", (5,), 0, 1114111), ("a", "b")))
    again.load_state_dict(folded.state_dict())
    assert torch.equal(source(again.eval()(prepared)), source(folded(prepared)))


@torch.no_grad()
def test_what_is_kept_in_evaluation_follows_every_change(make, monkeypatch) -> None:
    part = _moved(make()).eval()
    made: list[int] = []
    table = type(part).table
    monkeypatch.setattr(type(part), "table", lambda self: made.append(1) or table(self))
    first = part(IDS).values
    assert torch.equal(part(IDS).values, first)
    assert len(made) == (0 if isinstance(part, GumbelRows) and part.context > 1 else 1)
    parameter = next(part.parameters())
    kept = parameter.clone()
    for change in (
        lambda: parameter.mul_(-3).add_(0.1),
        lambda: part.load_state_dict({**part.state_dict(), next(iter(part.state_dict())): kept}),
        lambda: setattr(parameter, "data", kept * -2 + 0.1),
    ):
        before = part(IDS).values
        change()
        assert not torch.equal(part(IDS).values, before)
    changed = {next(iter(dict(part.named_parameters()))): kept}
    assert torch.equal(torch.func.functional_call(part, changed, (IDS,)).values, first)


@pytest.mark.parametrize("context", [1, 3, 5])
def test_gathering_is_the_convolution_of_one_hot_tokens(context: int) -> None:
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(context, TOKENS, 9, generator=generator, requires_grad=True)
    hot = F.one_hot(IDS, TOKENS + 1)[..., 1:].float()  # (batch, length, tokens)
    dense = F.conv1d(hot.mT, table.permute(2, 1, 0), padding=context // 2).mT
    gathered = gather(table, IDS, IDS > 0)
    torch.testing.assert_close(gathered, dense[IDS > 0], rtol=0, atol=1e-5)
    weights = torch.randn(gathered.shape, generator=generator)
    (ours,) = torch.autograd.grad((gathered * weights).sum(), table)
    (theirs,) = torch.autograd.grad((dense[IDS > 0] * weights).sum(), table)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_without_marks_nothing_stands_around() -> None:
    source = text_source(brackets=False).door("embeddings")
    part = _bound(FreeRows(), source)
    tokens = part(IDS)
    assert torch.equal(tokens.mask, (IDS > 0).long())
    rows = part.get_parameter("rows")
    torch.testing.assert_close(tokens.values[0], rows[0, IDS[0] - 1])
    assert part(IDS[1:]).values.shape[1] == 3  # as long as the longest
    assert bracketed(IDS, IDS > 0, torch.tensor(8), None).values[:, 0].tolist() == [8] * 3


def test_starts_resemble_the_source() -> None:
    atoms = 3 + 2 * torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    rows = normal(atoms, 4000, torch.Generator().manual_seed(1))
    torch.testing.assert_close(rows.mean(0), atoms.mean(0), rtol=0.1, atol=0)
    torch.testing.assert_close(rows.std(0), atoms.std(0), rtol=0.1, atol=0)
    drawn = copies(atoms, 50, torch.Generator().manual_seed(1))
    assert torch.equal(drawn.sort(0).values, atoms.sort(0).values) and len(copies(atoms, 120,
        torch.Generator())) == 120  # fmt: skip


# Sparse rows: orthogonal matching pursuit


def _slow(x: Tensor, atoms: Tensor, k: int) -> list[int]:
    """One vector, its residual by least squares from scratch."""
    chosen: list[int] = []
    residual = x
    for _ in range(k):
        fit = (atoms @ residual).abs() / atoms.norm(dim=1)
        fit[chosen] = -1
        chosen.append(int(fit.argmax()))
        span = atoms[chosen].T
        residual = x - span @ torch.linalg.lstsq(span, x[:, None]).solution[:, 0]
    return chosen


@pytest.mark.parametrize("k", [1, 2, 5, 8])
def test_pursuit_is_that_of_each_vector_alone(k: int) -> None:
    generator = torch.Generator().manual_seed(k)
    atoms = torch.randn(40, 12, generator=generator) * torch.rand(40, 1, generator=generator)
    x = torch.randn(7, 12, generator=generator)
    index = pursue(x, atoms, k)
    assert index.tolist() == [_slow(row, atoms, k) for row in x]
    weights = weigh(x, atoms[index])
    for row, place, weight in zip(x, index, weights, strict=True):
        exact = torch.linalg.lstsq(atoms[place].T, row[:, None]).solution[:, 0]
        torch.testing.assert_close(weight, exact, rtol=1e-3, atol=1e-3)


def test_pursuit_finds_what_a_vector_was_made_of() -> None:
    generator = torch.Generator().manual_seed(3)
    atoms = torch.linalg.qr(torch.randn(10, 10, generator=generator)).Q
    for places in list(combinations(range(10), 3))[::9]:
        x = (atoms[list(places)] * torch.tensor([[1.0], [-2.0], [0.5]])).sum(0, keepdim=True)
        index = pursue(x, atoms, 3)
        assert set(index[0].tolist()) == set(places)
        restored = weigh(x, atoms[index])[0] @ atoms[index[0]]
        torch.testing.assert_close(restored, x[0], rtol=1e-4, atol=1e-4)


def test_pursuit_bears_what_dictionaries_hold() -> None:
    atoms = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [-1.0, 1e-9], [0.0, 1e-3]])
    x = torch.tensor([[2.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
    index = pursue(x, atoms, 3)
    assert all(len(set(row)) == 3 for row in index.tolist())
    assert set(index[0, :2].tolist()) >= {4}
    restored = torch.einsum("nk,nkw->nw", weigh(x, atoms[index]), atoms[index])
    assert restored.isfinite().all()
    assert torch.equal(pursue(x, atoms, 3, index[:, :1])[:, 0], index[:, 0])


def test_sparse_rows_are_projections_and_pass_gradients_through() -> None:
    part = _moved(SparseRows(atoms=3, every=2, renewed=3))
    assert isinstance(part, SparseRows)
    index = part.index.clone()
    part.advance(0, 10)
    assert torch.equal(part.index, index)  # not yet
    part.advance(1, 10)
    assert not torch.equal(part.index, index)
    table = part.table()
    for t in range(TOKENS):
        span = part.dictionary[part.index[0, t]].T
        x = part.free.detach()[0, t]
        exact = span @ torch.linalg.lstsq(span, x[:, None]).solution[:, 0]
        torch.testing.assert_close(table[0, t], exact, rtol=1e-3, atol=1e-3)
    weights = torch.randn(table.shape, generator=torch.Generator().manual_seed(0))
    (g,) = torch.autograd.grad((table * weights).sum(), part.free)
    assert torch.equal(g, weights)
    with torch.no_grad():
        part.free += 1
    part.advance(8, 9)  # the last step chooses, whatever its number
    assert part.index.tolist()[0] == pursue(part.free[0], part.dictionary, 3).tolist()


def test_a_warm_choice_keeps_the_heaviest_atoms() -> None:
    part = _moved(SparseRows(atoms=4, every=1, renewed=1))
    assert isinstance(part, SparseRows)
    heavy = part.weights().abs() * part.dictionary.norm(dim=1)[part.index]
    kept = part.index.gather(-1, heavy.argsort(-1, descending=True)[..., :3])
    part.advance(0, 10)
    assert torch.equal(part.index[..., :3], kept)


# Gumbel rows


def test_temperature_falls_linearly_and_stays() -> None:
    part = _bound(GumbelRows(hottest=2.0, coldest=0.5, annealed=0.5))
    assert isinstance(part, GumbelRows)
    taus = [float(part.tau)]
    for step in range(8):
        part.advance(step, 8)
        taus.append(float(part.tau))
    assert taus == pytest.approx([2.0, 1.625, 1.25, 0.875, 0.5, 0.5, 0.5, 0.5, 0.5])
    assert "tau" in part.state_dict()


@pytest.mark.parametrize("context", [1, 3])
@pytest.mark.parametrize("rank", [None, 2])
def test_it_reads_the_likeliest_token_around_each_place(context: int, rank) -> None:
    part = _moved(GumbelRows(context=context, rank=rank)).eval()
    assert isinstance(part, GumbelRows)
    theta = part.theta if rank is None else part.a @ part.b
    padded = F.pad(IDS, (context // 2, context // 2))
    tokens = part(IDS)
    for b, i in (IDS > 0).nonzero().tolist():
        h = part.bias.clone()
        for j in range(context):
            if padded[b, i + j] > 0:
                h = h + theta[j, padded[b, i + j] - 1]
        h[part.marks] = -torch.inf
        torch.testing.assert_close(tokens.values[b, 1 + i], part.dictionary[h.argmax()])
    assert part.marks.tolist() == [0, 1, 2, 3, 4]  # of the tiny tokenizer


def test_mixtures_follow_the_gumbel_law_and_cool_to_single_tokens() -> None:
    part = _moved(GumbelRows(context=1))
    assert isinstance(part, GumbelRows)
    h = torch.zeros(20000, len(part.dictionary)).index_fill(1, part.marks, -torch.inf)
    h[:, 7] = 2.0
    part.tau.fill_(1e-4)
    with torch.no_grad(), forked_rng(0, 0):
        cold = part.chosen(h)
    distance = torch.cdist(cold, part.dictionary)
    assert distance.min(1).values.median() < 1e-3
    share = (distance.argmin(1) == 7).float().mean()
    assert abs(float(share) - float(h[0].softmax(0)[7])) < 0.015
    part.tau.fill_(1e6)
    with torch.no_grad(), forked_rng(0, 0):
        hot = part.chosen(h[:2])
    allowed = [i for i in range(len(part.dictionary)) if i not in part.marks]
    torch.testing.assert_close(hot[0], part.dictionary[allowed].mean(0), rtol=1e-3, atol=1e-3)


def test_straight_through_reads_single_tokens_with_the_mixtures_gradient() -> None:
    part, soft = (_moved(GumbelRows(context=3, straight_through=s)) for s in (True, False))
    with forked_rng(0, 0):
        hard = part(IDS).values[0, 1:6]
    assert torch.cdist(hard, part.dictionary).min(1).values.max() < 1e-3
    gradients = []
    for one in (part, soft):
        with forked_rng(0, 0):
            one(IDS).values.sum().backward()
        gradients.append(next(one.parameters()).grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("door", ["embeddings", "tokens"])
def test_draws_and_their_log_probabilities(door: str) -> None:
    source = text_source().door(door)
    part = _bound(GumbelRows(context=3), source)
    assert isinstance(part, GumbelRows)
    with forked_rng(7, 0):
        part.theta.data = torch.randn_like(part.theta)
    with forked_rng(0, 0):
        tokens, log_p = part.sample(part.prepare(IDS), 4)
    assert isinstance(tokens, Tokens)
    assert tokens.values.shape[:3] == tokens.mask.shape == (4, 3, 7)
    assert log_p.shape == (4, 3)
    values = tokens.values
    if door == "embeddings":
        values = torch.cdist(values.flatten(0, 2), part.dictionary).argmin(1).reshape(4, 3, 7)
    table = part.scores(IDS, IDS > 0).log_softmax(-1)
    for n, (b, ids) in ((n, row) for n in range(4) for row in enumerate(IDS)):
        length = int((ids > 0).sum())
        first = int((IDS[:b] > 0).sum())
        drawn = values[n, b, 1 : 1 + length]
        by_hand = table[first : first + length].gather(1, drawn[:, None]).sum()
        torch.testing.assert_close(log_p[n, b], by_hand)
        assert not set(drawn.tolist()) & set(part.marks.tolist())
    log_p.sum().backward()
    assert part.theta.grad is not None and part.theta.grad.any()
    source(tokens.map(lambda t: t.flatten(0, 1)))


def test_at_the_door_of_tokens_ids_come_out_and_no_gradient_passes() -> None:
    source = text_source().door("tokens")
    part, white = _moved(GumbelRows(context=3)), GumbelRows(context=3)
    black = _bound(GumbelRows(context=3), source)
    black.load_state_dict(part.state_dict())
    with pytest.raises(UserError, match=r"no gradient passes .* ScoreFunction"):
        black(IDS)
    with torch.no_grad():
        assert black(IDS).values.dtype == torch.long
        black.eval()
        at_tokens = source(black(IDS))
        torch.testing.assert_close(at_tokens, source.door("embeddings")(part.eval()(IDS)))
    assert black.folded() is black
    blind = CallableSource(len, source.input, source.output)
    _bound(white, blind)  # pyright: ignore
    assert white.eval()(IDS).mask.tolist() == (IDS > 0).long().tolist()


def test_a_program_of_a_black_box_holds_no_embeddings() -> None:
    blind = black_box(text_source())
    part = _bound(GumbelRows(context=1, rank=2), blind)  # pyright: ignore
    assert set(part.state_dict()) == {"a", "b", "bias", "tau"}


# Bad input


@pytest.mark.parametrize("make_part", [FreeRows, lambda: SparseRows(atoms=2), DenseRows])
def test_in_a_subspace(make_part) -> None:
    part = Subspace(make_part(), 3)
    part.bind(text_source().door("embeddings"), TASK)
    with torch.no_grad():
        part.z += 1
    assert part(IDS).values.requires_grad
    torch.testing.assert_close(part.eval().folded().eval()(IDS).values, part(IDS).values)


@pytest.mark.parametrize(
    ("make_part", "said"),
    [
        (lambda: FreeRows(context=2), "'context' is 2; give an odd number"),
        (lambda: FreeRows(start="zero"), "'start' is 'zero'"),  # pyright: ignore
        (lambda: LowRankRows(rank=0), "'rank' is 0"),
        (lambda: SparseRows(atoms=0), "'atoms' is 0"),
        (lambda: SparseRows(every=0), "'every' is 0"),
        (lambda: SparseRows(renewed=0), "'renewed' is 0"),
        (lambda: SparseRows(start="mask"), "'start' is 'mask'"),  # pyright: ignore
        (lambda: GumbelRows(rank=0), "'rank' is 0"),
        (lambda: GumbelRows(hottest=0.1, coldest=0.2), "'hottest' and 'coldest' are 0.1 and 0.2"),
        (lambda: GumbelRows(annealed=0.0), "'annealed' is 0.0"),
        (lambda: PrototypeRows(heads=0), "'heads' is 0"),
    ],
)
def test_a_bad_argument_is_named(make_part, said: str) -> None:
    with unchecked(), pytest.raises(UserError, match=said):
        make_part()


def test_what_does_not_fit_is_named(make) -> None:
    text = TaskSpec("toy", InputSpec("text", (5,)), ("a", "b"))
    embeddings = text_source().door("embeddings")
    silent = TorchSource(nn.Identity(), OutputSpec("classes", (3,)), input=embeddings.input)
    for source, task, said in (
        (embeddings, text, "takes a task of kind 'tokens'; toy is 'text'"),
        (silent, TASK, "made of the source's own embeddings, and source given does not tell them"),
    ):
        with pytest.raises(UserError, match=said):
            make().bind(source, task)


def test_more_atoms_than_tokens_are_all_of_them() -> None:
    part = _moved(SparseRows(atoms=99, every=1))
    part.advance(0, 10)
    index = part.get_buffer("index")
    assert index.shape[-1] == 23 and index[0].sort(-1).values.tolist() == [list(range(23))] * TOKENS
    torch.testing.assert_close(part.table(), part.get_parameter("free"), rtol=1e-2, atol=1e-2)


def test_the_wrong_door_is_named() -> None:
    with pytest.raises(UserError, match="writes 'embeddings'; source given takes 'tokens'"):
        _bound(FreeRows(), text_source())
