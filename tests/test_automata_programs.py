"""Programs inside automata: what they do at a step, where their runs start, and how they train."""

from typing import Any

import pytest
import tiny_automata as tiny
import torch

from reprogram import optim
from reprogram.criteria import SquaredError
from reprogram.mappings import CellScores
from reprogram.model import BatchObjective, Reprogrammed
from reprogram.transformations import Inject, StateMatrix
from reprogram.transformations.automata import combined, scaled
from reprogram.transformations.automata.pool import Pool, circles
from reprogram.types import UserError

PARTS = {"inject": Inject, "matrix": StateMatrix}


def bound(part: str, where: str, **numbers) -> tuple[Any, Any, Any]:
    """A transformation that is no longer at its start, its source and task."""
    source, task = tiny.world(where)
    share = {"share": 0.5} if part == "inject" else {}
    made = PARTS[part](**{"pool": 8, "steps": 3, "grown": 3, **share, **numbers})
    made.bind(source, task.spec)
    generator = torch.Generator().manual_seed(3)
    for parameter in made.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return made, source, task


every = pytest.mark.parametrize("where", list(tiny.WORLDS))
both = pytest.mark.parametrize("part", list(PARTS))


@every
@both
def test_the_gradient_reaches_the_program_and_nothing_else(part: str, where: str) -> None:
    made, source, task = bound(part, where)
    before = source.fingerprint()
    x = task.train.batch(torch.arange(4))[0]
    torch.manual_seed(0)
    source(made.train()(made.prepare(x)))[:, -3:].square().sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    assert all(p.grad is None for p in source.parameters())
    assert source.fingerprint() == before


@every
@both
def test_the_same_seed_runs_alike(part: str, where: str) -> None:
    made, source, task = bound(part, where, steps=[2, 5])
    x = task.train.batch(torch.arange(4))[0]
    for mode in (True, False):
        made.train(mode)
        outputs = []
        for _ in range(2):
            torch.manual_seed(0)
            cells = made(x)
            outputs.append(source(cells))
        assert torch.equal(*outputs)
    made.train()
    assert {made(x).steps for _ in range(40)} == {2, 3, 4}
    assert made.eval()(x).steps is None


def test_an_adversary_acts_in_its_cells_alone() -> None:
    made, source, task = bound("inject", "digits", share=0.4)
    source.rollout.cell.noise = made.adversary.noise = 0.0  # which goes by the cells computed
    made.eval()
    torch.manual_seed(1)
    cells = made(task.train.batch(torch.arange(4))[0])
    assert cells.mask is not None and cells.intervene is not None
    rule: Any = source.rollout.cell  # pyright: ignore
    torch.manual_seed(2)
    state = cells.intervene(rule, cells.values, cells.mask)
    torch.manual_seed(2)
    own = made.adversary(cells.values)
    normal = rule(cells.values)
    mask = cells.mask.float()
    torch.testing.assert_close(state, normal * (1 - mask) + own * mask)
    torch.manual_seed(3)
    alone = cells.intervene(rule, cells.values, None)
    torch.manual_seed(3)
    assert torch.equal(alone, rule(cells.values))


def test_weights_are_put_whole_or_not_at_all() -> None:
    made, source, _ = bound("inject", "digits")
    weights = source.rollout.cell.state_dict()
    made.put(weights)
    for name, tensor in made.adversary.state_dict().items():
        assert torch.equal(tensor, weights[name])
    with pytest.raises(UserError, match=r"'out.bias' of shape none; the adversary has \(5,\)"):
        made.put({name: w for name, w in weights.items() if name != "out.bias"})
    with pytest.raises(UserError, match=r"'out.bias' of shape \(4,\)"):
        made.put({**weights, "out.bias": torch.zeros(4)})


def test_as_many_adversaries_as_asked() -> None:
    made, _, task = bound("inject", "digits", share=0.25)
    masks = torch.cat([made.eval()(task.train.batch(torch.arange(12))[0]).mask for _ in range(40)])
    assert float(masks.float().mean()) == pytest.approx(0.25, abs=0.02)
    made, _, task = bound("inject", "growing", share=1.0)
    cells = made.eval()(torch.tensor([0.0, 1.0]))
    living = made.start.states[1:, 3:4] >= 0.1
    assert torch.equal(cells.mask, living.expand(2, -1, -1, -1))


def test_a_fresh_adversary_stands_still_and_a_fresh_matrix_changes_nothing() -> None:
    source, task = tiny.digits(), tiny.digits_task()
    x = task.train.batch(torch.arange(3))[0]
    made = Inject(share=1.0, pool=0)
    made.bind(source, task.spec)
    torch.manual_seed(0)
    moved = source(made.eval()(x)) - made(x).values
    assert moved.abs().max() < 0.5  # the noise of a rule, and no more
    made = StateMatrix(pool=0)
    made.bind(source, task.spec)
    torch.manual_seed(0)
    led = source(made.eval()(x))
    torch.manual_seed(0)
    made.start.state(x)
    torch.testing.assert_close(led, source(made.start.state(x)))


def test_where_runs_start() -> None:
    made, source, task = bound("matrix", "digits")
    x = task.train.batch(torch.arange(5))[0]
    values = made.eval()(x).values
    assert torch.equal(values[:, :1], x) and not values[:, 1:].any()
    made, source, _ = bound("matrix", "growing", grown=5)
    seed, grown = made.eval()(torch.tensor([0.0, 1.0])).values
    assert torch.equal(seed[None], source.rollout.cell.seed(8, 8))
    again = source.rollout.grown(seed[None], steps=5, seed=0)
    torch.testing.assert_close(again[0], grown)


def test_a_matrix_step_by_its_formula() -> None:
    made, source, _ = bound("matrix", "growing")
    state = 4 * torch.randn(2, 6, 8, 8, generator=torch.Generator().manual_seed(0))
    seen: list[torch.Tensor] = []
    intervene = made.intervention()
    intervene(lambda x: seen.append(x) or x, state, None)
    a, cell = made.matrix(), source.rollout.cell
    assert torch.equal(a, a.T) and made.upper.shape == (21,)
    for b, y, x in [(0, 0, 0), (1, 3, 5), (0, 7, 2)]:
        wanted = (state[b, :, y, x] @ a).clamp(-3, 3) * cell.living(state)[b, 0, y, x]
        torch.testing.assert_close(seen[0][b, :, y, x], wanted)
    picture = made.picture()
    assert picture.shape == (1, 6, 6) and not picture.requires_grad


def test_a_digit_stays_under_the_matrix() -> None:
    made, source, task = bound("matrix", "digits")
    x = task.train.batch(torch.arange(4))[0]
    assert torch.equal(source(made.eval()(x))[:, :1], x)


def test_matrices_compose() -> None:
    made, _, _ = bound("matrix", "growing")
    a = made.matrix().detach()
    eye = torch.eye(6)
    torch.testing.assert_close(scaled(a, 1.0), a)
    torch.testing.assert_close(scaled(a, 0.0), eye)
    torch.testing.assert_close(combined(a, eye), a)
    b = eye + torch.ones(6, 6)
    torch.testing.assert_close(combined(a, b), a + b - eye)
    torch.testing.assert_close(combined(a, b, k=0.3, second_k=0.5), 0.3 * a + 0.5 * b + 0.2 * eye)
    made.put(b)
    assert torch.equal(made.matrix(), b)
    with pytest.raises(UserError, match=r"shape \(5, 5\); the state has 6 channels"):
        made.put(torch.eye(5))
    with pytest.raises(UserError, match="not symmetric"):
        made.put(torch.arange(36.0).reshape(6, 6))


@both
def test_a_population_runs_each_program_for_itself(part: str) -> None:
    made, source, task = bound(part, "digits", pool=0)
    mapping = CellScores()
    mapping.bind(source, task.spec)
    model = Reprogrammed(source, made.train(), mapping)
    batch = task.train.batch(torch.arange(4))
    objective = BatchObjective(model, SquaredError(), batch, seed=0, step=0)
    rows = torch.stack([optim.flatten(made.parameters()) * s for s in (1.0, 0.5)])
    together = objective(rows)
    for row, losses in zip(rows, together, strict=True):
        torch.testing.assert_close(objective(row[None])[0], losses)
    first, second = together
    assert not torch.allclose(first, second)


def fill(pool: Pool, keys: torch.Tensor) -> None:
    """As many states as keys, each full of its key."""
    n = len(keys)
    states = keys.reshape(n, -1)[:, :1, None, None].expand(-1, 2, 4, 4)
    pool.put(torch.arange(n), keys, states, torch.zeros(n, 1, 4, 4, dtype=torch.bool))


@pytest.mark.parametrize("shape", [(), (1, 2, 2)])
@pytest.mark.parametrize(("fresh", "mutated"), [(0.0, 0.0), (1.0, 0.0), (0.3, 0.3), (0.0, 1.0)])
def test_who_goes_on_from_what(shape: tuple[int, ...], fresh: float, mutated: float) -> None:
    pool = Pool(12, (2, 4, 4), shape)
    generator = torch.Generator().manual_seed(0)
    known = torch.rand(8, *shape, generator=generator)
    fill(pool, known)
    met = torch.cat([known[:3], torch.rand(3, *shape, generator=generator)])
    counts = torch.zeros(3)
    for seed in range(200):
        torch.manual_seed(seed)
        slots, going, carried = pool.visit(met, fresh=fresh, mutated=mutated)
        assert len(set(slots.tolist())) == 6
        for i in range(6):
            same = torch.equal(pool.keys[slots[i]], met[i])
            full = bool(pool.filled[slots[i]])
            assert full or not going[i]
            assert same or carried[i] or not going[i]  # an own state, or another's by wish
        counts += torch.tensor([(~going[:3]).sum(), carried.sum() / 2, (~going[3:]).sum()])
    shares = counts / 600
    unknown = fresh + (1 - fresh) * (1 - mutated)
    wanted = torch.tensor([fresh, (1 - fresh) * mutated, unknown])
    assert torch.allclose(shares, wanted, atol=0.06)


def test_a_new_state_takes_an_empty_place() -> None:
    pool = Pool(12, (2, 4, 4), ())
    fill(pool, torch.arange(8.0))
    slots, going, _ = pool.visit(torch.arange(100.0, 104), fresh=0.0, mutated=0.0)
    assert sorted(slots.tolist()) == [8, 9, 10, 11] and not going.any()
    with pytest.raises(UserError, match="'pool' is 12 and a batch has 13"):
        pool.visit(torch.arange(13.0), fresh=0.0, mutated=0.0)


def test_nobody_goes_on_from_what_is_not_finite() -> None:
    pool = Pool(4, (2, 4, 4), ())
    fill(pool, torch.tensor([1.0, torch.inf, 3.0]))
    pool.put(torch.tensor([0]), torch.ones(1), torch.full((1, 2, 4, 4), torch.nan),
             torch.zeros(1, 1, 4, 4, dtype=torch.bool))  # fmt: skip
    visit = pool.visit(torch.tensor([1.0, torch.inf, 3.0]), fresh=0.0, mutated=0.0)
    assert visit.going.tolist() == [False, False, True]


@every
def test_the_pool_learns_what_came_out_once_a_step(where: str) -> None:
    made, source, task = bound("inject", where, fresh=0.0, mutated=0.0, pool=6)
    x = task.train.batch(torch.arange(2))[0]  # two samples that differ
    made.train()
    first = made(x)
    made.observe(x, source(first).detach())
    assert not made.kept.filled.any()  # an evaluation changes nothing for the next one
    output = source(first).detach()
    made.observe(x, output)
    made.advance(0, 10)
    assert made.kept.filled.sum() == 2
    second = made(x)
    assert torch.equal(second.values, output)
    assert torch.equal(second.mask, first.mask)  # adversaries stay where they are
    assert torch.equal(made.eval()(x).values, first.values)  # and evaluation begins anew


def test_another_digit_takes_over_a_state() -> None:
    made, source, task = bound("inject", "digits", fresh=0.0, mutated=1.0, pool=4)
    old, new = task.train.batch(torch.tensor([0]))[0], task.train.batch(torch.tensor([1]))[0]
    made.train()
    output = source(made(old)).detach()
    made.observe(old, output)
    made.advance(0, 1)
    cells = made(new)
    assert torch.equal(cells.values[:, :1], new)
    assert torch.equal(cells.values[:, 1:], output[:, 1:] * (new > 0.1))
    assert torch.equal(cells.mask, made.kept.masks[made.kept.filled])


@every
def test_damage_is_a_circle(where: str) -> None:
    made, source, task = bound("matrix", where, fresh=0.0, mutated=0.0, damaged=1.0)
    x = task.train.batch(torch.arange(1))[0]
    made.train()
    output = torch.rand_like(source(made(x)).detach()) + 0.1
    output[:, :1] = made.start.state(x)[:, :1] if where == "digits" else output[:, :1]
    made.observe(x, output)
    made.advance(0, 1)
    erased = 0
    for seed in range(20):
        torch.manual_seed(seed)
        state = made(x).values
        hole = (state[:, 1:] == 0).all(1)
        erased += int(hole.sum())
        assert torch.equal(state[:, 1:], output[:, 1:] * ~hole[:, None])
        if where == "digits":
            assert torch.equal(state[:, :1], x)
    assert erased > 0


def test_circles() -> None:
    torch.manual_seed(0)
    found = circles(200, 41, 41).float()
    radius = (found.sum((1, 2, 3)) / torch.pi).sqrt() / 20
    assert radius.min() > 0.05 and radius.max() < 0.42
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, 41)] * 2, indexing="ij")
    centres = (found[:, 0] * x).sum((1, 2)) / found.sum((1, 2, 3))
    assert centres.abs().max() <= 0.52
    del y
