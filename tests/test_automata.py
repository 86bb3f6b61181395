"""Rules of a cell, runs, and the automata that ship or were published."""

import json
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from reprogram import sources
from reprogram.sources.automata import DigitCell, GrowingCell, Rollout, automaton_source
from reprogram.sources.automata import published as shown
from reprogram.sources.automata.growing import FILTERS
from reprogram.sources.options import counts
from reprogram.types import Cells, UserError

SCRIPTS = Path(__file__).resolve().parents[1] / "zoo"
EMBEDDED = ("mnist-ca", "growing-ca")


def digit_cell():
    """A small rule that says something; its noise is off, for comparison."""
    cell = DigitCell(channels=6, classes=3, width=7, noise=0.0)
    return drawn(cell)


def growing_cell():
    return drawn(GrowingCell(channels=6, width=9))


def drawn(cell):
    generator = torch.Generator().manual_seed(0)
    cell.reset(generator)
    for p in cell.out.parameters():
        nn.init.normal_(p, std=0.2, generator=generator)
    return cell


def state_of(cell, count=3, height=9, width=7):
    """A state in which some cells are alive."""
    generator = torch.Generator().manual_seed(1)
    state = torch.rand(count, cell.channels, height, width, generator=generator)
    alive = torch.rand(count, 1, height, width, generator=generator) < 0.2
    return state * alive


def dense_digit(cell, state):
    """The same rule, computed everywhere; for a cell without noise."""
    fire = torch.rand(state[:, :1].shape) < cell.rate
    torch.randint(2**62, ())  # the seed of the noise
    kernel = cell.perceive.weight.reshape(cell.width, 3, 3, cell.channels).permute(0, 3, 1, 2)
    x = functional.conv2d(state, kernel, cell.perceive.bias, padding=1).relu()
    x = cell.hidden(x.movedim(1, -1)).relu()
    update = cell.out(x).movedim(-1, 1) * (fire & (state[:, :1] > cell.threshold))
    return torch.cat([state[:, :1], state[:, 1:] + update], 1)


def dense_growing(cell, state):
    """The same rule, computed everywhere."""
    fire = torch.rand(state[:, :1].shape) < cell.rate
    kernels = FILTERS[:, None].repeat(cell.channels, 1, 1, 1)
    seen = functional.conv2d(state, kernels, padding=1, groups=cell.channels)  # channel by channel
    update = cell.out(cell.hidden(seen.movedim(1, -1)).relu()).movedim(-1, 1)
    grown = state + update * fire
    before, after = (functional.max_pool2d(s[:, 3:4], 3, 1, 1) > 0.1 for s in (state, grown))
    return grown * (before & after)


RULES = [(digit_cell, dense_digit), (growing_cell, dense_growing)]


def run(rule, cell, state, steps=4):
    """A state after these steps, and the gradients of its sum of squares."""
    state = state.clone().requires_grad_()
    torch.manual_seed(3)
    end = state
    for _ in range(steps):
        end = rule(cell, end)
    return end, torch.autograd.grad(end.square().sum(), [state, *cell.parameters()])


# A step


@pytest.mark.parametrize(("make", "dense"), RULES)
def test_computing_few_cells_equals_computing_all(make, dense):
    cell = make()
    fast, gradients = run(lambda cell, state: cell(state), cell, state_of(cell))
    slow, wanted = run(dense, cell, state_of(cell))
    torch.testing.assert_close(fast, slow, atol=1e-5, rtol=1e-5)
    for found, expected in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("make", "dense"), RULES)
def test_only_wanted_cells_change_and_as_without_the_others(make, dense):
    cell = make()
    state = state_of(cell)
    where = torch.rand(state[:, :1].shape, generator=torch.Generator().manual_seed(2)) < 0.3
    torch.manual_seed(3)
    some = cell(state, where)
    torch.manual_seed(3)
    torch.testing.assert_close(some, torch.where(where, dense(cell, state), state))


@pytest.mark.parametrize("make", [DigitCell, GrowingCell])
def test_what_is_drawn_does_not_depend_on_what_is_alive(make):
    after = []
    for state in (torch.zeros(2, make().channels, 8, 8), torch.ones(2, make().channels, 8, 8)):
        torch.manual_seed(0)
        make_state = torch.get_rng_state()
        drawn(cell := make())
        torch.set_rng_state(make_state)
        cell(state)
        after.append(torch.get_rng_state())
    assert torch.equal(*after)


@pytest.mark.parametrize("make", [digit_cell, growing_cell])
def test_a_state_given_is_not_changed(make):
    cell = make()
    state = state_of(cell)
    before = state.clone()
    cell(state)
    assert torch.equal(state, before)


@pytest.mark.parametrize("make", [digit_cell, growing_cell])
def test_a_dead_grid_stays(make):
    cell = make()
    state = torch.zeros(2, cell.channels, 5, 6)
    assert torch.equal(cell(state), state)


def test_noise_is_of_the_size_asked_and_spares_the_grey():
    cell = DigitCell()  # its last layer is zero: only noise is added
    state = cell.initial(torch.ones(8, 1, 28, 28))
    torch.manual_seed(0)
    change = cell(state) - state
    fired = change[:, 1:].abs().sum(1) > 0
    assert not change[:, 0].any()
    assert fired.float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert change[:, 1:].movedim(1, -1)[fired].std().item() == pytest.approx(0.02, rel=0.03)


@pytest.mark.parametrize(("make", "numbers"), [(DigitCell, 22_499), (GrowingCell, 8_336)])
def test_a_fresh_rule_is_of_the_same_kind_and_stands_still(make, numbers):
    cell = drawn(make()).requires_grad_(False)
    fresh = cell.fresh(torch.Generator().manual_seed(5))
    again = cell.fresh(torch.Generator().manual_seed(5))
    assert sum(p.numel() for p in fresh.parameters()) == numbers
    assert all(p.requires_grad for p in fresh.parameters())
    assert cell.out.weight.any() and not fresh.out.weight.any()
    assert torch.equal(fresh.hidden.weight, again.hidden.weight)
    assert not torch.equal(fresh.hidden.weight, cell.hidden.weight)
    assert not any(p.requires_grad for p in cell.parameters())


def test_growing_needs_four_channels():
    with pytest.raises(UserError, match="'channels' is 3"):
        GrowingCell(channels=3)


# A run


@pytest.mark.parametrize(("given", "steps"), [(None, 5), (2, 2), (0, 0)])
def test_a_run_shows_every_state_and_ends_in_the_last(given, steps):
    cell = growing_cell()
    rollout = Rollout(cell, steps=5)
    cells = Cells(cell.seed(8, 6), steps=given)
    torch.manual_seed(0)
    states = list(rollout.run(cells))
    torch.manual_seed(0)
    assert len(states) == steps + 1
    assert torch.equal(states[0], cells.values)
    assert torch.equal(states[-1], rollout(cells))


def test_an_intervention_is_asked_at_every_step():
    rollout = Rollout(digit_cell(), steps=3)
    state = state_of(rollout.cell)
    mask, asked = torch.ones(3, 1, 9, 7), []

    def intervene(rule, state, mask):
        asked.append(mask)
        return rule(state) + 1

    end = rollout(Cells(state, mask, intervene=intervene))
    assert len(asked) == 3
    assert all(found is mask for found in asked)
    assert torch.equal(end[:, 0], state[:, 0] + 3)  # the rule leaves the grey


@pytest.mark.parametrize("shape", [(2, 5, 9, 9), (6, 9, 9)])
def test_a_state_of_other_channels(shape):
    with pytest.raises(UserError, match=r"the state has shape \(.*\) and the automaton 6 channels"):
        Rollout(digit_cell(), steps=1)(torch.zeros(shape))


def test_no_steps():
    with pytest.raises(UserError, match="'steps' is 0"):
        Rollout(digit_cell(), steps=0)


def test_growing_in_advance_repeats_and_leaves_the_random_state():
    rollout = Rollout(growing_cell(), steps=1)
    before = torch.get_rng_state()
    grown = rollout.grown(rollout.cell.seed(8, 8), steps=6, seed=4)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(grown, rollout.grown(rollout.cell.seed(8, 8), steps=6, seed=4))


def test_what_is_no_number_does_not_pass_for_dead():
    cell = growing_cell()
    state = state_of(cell)
    state[0, :, 4, 3] = torch.nan
    assert cell(state)[0, :, 4, 3].isnan().all()


# A source


@pytest.mark.parametrize("make", [digit_cell, growing_cell])
def test_a_source_is_frozen_takes_any_grid_and_passes_the_gradient(make):
    source = automaton_source(make(), steps=3, shape=(9, 7))
    assert source.input.shape == source.output.shape == (6, 9, 7)
    for height, width in ((9, 7), (12, 5)):
        state = state_of(source.rollout.cell, height=height, width=width).requires_grad_()
        source(state).square().sum().backward()
        assert state.grad is not None and state.grad.any()
    assert all(p.grad is None and not p.requires_grad for p in source.parameters())


def test_a_fingerprint_knows_weights_and_steps():
    first, other = (automaton_source(digit_cell(), steps=n, shape=(9, 7)) for n in (3, 4))
    again = automaton_source(digit_cell(), steps=3, shape=(9, 7))
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    before = first.fingerprint()
    first(state_of(first.rollout.cell))
    assert first.fingerprint() == before


@pytest.mark.parametrize(("make", "batch"), [(digit_cell, False), (growing_cell, True)])
def test_a_control_has_other_weights_and_stays_finite(make, batch):
    cell = make()
    nn.init.normal_(cell.out.weight, std=3.0, generator=torch.Generator().manual_seed(0))
    source = automaton_source(cell, steps=3, shape=(9, 7))
    state = state_of(cell)
    assert not source.rollout.grown(state, steps=100).abs().max() < 1e9
    given = Cells(state) if batch else None
    torch.manual_seed(0)
    control = source.randomised(0, given)
    assert control.rollout.grown(state, steps=100).abs().max() < 1e3
    assert control.rollout.cell.hidden.weight.sum() == pytest.approx(
        cell.hidden.weight.sum().item(), abs=1e-4
    )
    torch.manual_seed(1)
    assert control.fingerprint() == source.randomised(0, given).fingerprint()
    assert control.fingerprint() != source.fingerprint()


# By name


@pytest.mark.parametrize("name", EMBEDDED)
def test_an_embedded_one_loads_under_its_name(name):
    source = sources.load(f"zoo:{name}")
    assert source.uri == f"zoo:{name}"
    assert source.input == sources.load(f"zoo:{name}").input
    assert sources.load(f"zoo:{name}?steps=3").uri == f"zoo:{name}?steps=3"
    assert sources.load(f"zoo:{name}?steps=3").fingerprint() != source.fingerprint()
    assert source(torch.zeros(1, *source.input.shape)).shape == (1, *source.output.shape)


@pytest.mark.parametrize("name", EMBEDDED)
def test_card_and_settings_stand_beside_the_weights(name):
    folder = files("reprogram") / "zoo"
    card = (folder / f"{name}.md").read_text()
    for word in ("Architecture", "Data", "Training", "Licence", "seed"):
        assert word in card
    assert json.loads((folder / f"{name}.json").read_text())["measured"]


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("zoo:mnist-ca?steps=0", "option 'steps' is '0'; give a whole number, 1 or more"),
        ("zoo:mnist-ca?steps=ten", "option 'steps' is 'ten'"),
        ("zoo:mnist-ca?step=3", "did you mean 'steps'"),
        ("zoo:images?steps=3", "takes no options"),
        ("zoo:mnist-cb?steps=3", "did you mean 'mnist-ca'"),
    ],
)
def test_options_that_there_are_not(uri, said):
    with pytest.raises(UserError, match=said):
        sources.load(uri)


def test_an_option_that_stands_twice():
    with pytest.raises(UserError, match="stands twice"):
        counts("zoo:any", "steps=1&steps=2", lambda *, steps: steps)


def test_a_published_source_that_is_nowhere(tmp_path, monkeypatch):
    import pooch

    monkeypatch.setenv("REPROGRAM_DATA", str(tmp_path))
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    with pytest.raises(UserError) as caught:
        sources.load("zoo:lizard-ca")
    for word in ("nca/sources/lizard_growing_ca.npz", "$REPROGRAM_DATA", "gca_data.js"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("ask", "said"),
    [(shown.published_adversary, "published adversary 'tial'"),
     (shown.published_matrix, "published matrix 'tial'; did you mean 'tail'")],
)  # fmt: skip
def test_published_names_that_there_are_not(ask, said):
    with pytest.raises(UserError, match=said):
        ask("tial")


# The script


def test_interrupted_training_ends_at_the_same_weights(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from automata import train

    def trained(folder, *lengths):
        cell = growing_cell()
        pool = {"state": cell.seed(6, 6).repeat(4, 1, 1, 1)}

        def step(cell, pool):
            rows = torch.randperm(4)[:2]
            end = Rollout(cell, 3)(pool["state"][rows])
            pool["state"][rows] = end.detach()
            return (end[:, :4] - 1).square().mean()

        for steps in lengths:
            train(cell, pool, step, steps=steps, rate=0.01, falls=(), folder=folder, every=2)
        return cell.state_dict()

    whole, parts = trained(tmp_path / "whole", 6), trained(tmp_path / "parts", 4, 6)
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


# What the published ones do


@pytest.fixture
def public(data_root, monkeypatch):
    if not (data_root / "nca" / "sources").is_dir():
        pytest.skip("the published automata are not here")
    monkeypatch.setenv("REPROGRAM_DATA", str(data_root))


@pytest.mark.paper
def test_the_published_lizard_grows(public):
    """Mean squared error 2.2e-4 after 200 steps from the seed."""
    from reprogram.tasks.grow import read_picture

    source = sources.load("zoo:lizard-ca")
    target = functional.pad(read_picture("lizard_complete", 40), (16, 16, 16, 16))
    grown = source.rollout.grown(source.rollout.cell.seed(72, 72), steps=200)
    assert (grown[:, :4] - target).square().mean().item() == pytest.approx(2.2e-4, abs=5e-5)


@pytest.mark.paper
def test_the_published_cells_agree_on_digits(public):
    """Of 200 digits after 200 steps: cells .950, majority .955, whole agreement .895."""
    from reprogram.tasks.mnist import load_mnist

    source = sources.load("zoo:selforg-mnist-ca")
    cell = source.rollout.cell
    test = load_mnist().test
    end = source.rollout.grown(cell.initial(test.inputs[:200].float() / 255), steps=200)
    alive, said = cell.living(end)[:, 0], end[:, -10:].argmax(1)
    right = (said == test.targets[:200, None, None]) & alive
    agreed = (right == alive).flatten(1).all(1)
    assert (right.sum() / alive.sum()).item() == pytest.approx(0.950, abs=0.02)
    assert agreed.float().mean().item() == pytest.approx(0.87, abs=0.05)


@pytest.mark.paper
def test_published_adversaries_and_matrices_load(public):
    for name, bundle in shown.ADVERSARIES.items():
        bundle.cell().load_state_dict(shown.published_adversary(name))
    lengths = (0.435, 0.225, 0.116, 0.175, 0.447, 0.544)
    for name, length in zip(shown.MATRICES, lengths, strict=True):
        matrix = shown.published_matrix(name)
        assert torch.equal(matrix, matrix.T)
        assert (matrix - torch.eye(16)).norm().item() == pytest.approx(length, abs=1e-3)
