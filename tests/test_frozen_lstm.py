"""The fast forms of frozen convolutions and LSTMs: the same numbers as the modules they replace."""

import copy

import pytest
import torch
from torch import nn

from reprogram.sources import attention_rnn, frozen_lstm
from reprogram.sources.attention_rnn import AttentionRNN, attention_rnn_source
from reprogram.sources.frozen_conv import frozen_convolutions
from reprogram.sources.frozen_lstm import WORTHWHILE, lstm_outputs

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def network(request):
    """Frozen, with every weight and statistic drawn at random."""
    torch.manual_seed(0)
    network = AttentionRNN(classes=5)
    for norm in (network.norm1, network.norm2):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    for name, parameter in network.named_parameters():
        if "bias" in name and "norm" not in name:
            nn.init.normal_(parameter, std=0.3)
    return network.to(request.param).eval().requires_grad_(False)


def by_modules(network, x):
    x = network.norm1(network.conv1(x[:, None]).relu())
    return network.norm2(network.conv2(x).relu())[:, 0]


def by_bands(network, x):
    return frozen_convolutions(x, network.conv1, network.norm1, network.conv2, network.norm2)


def both_ways(one, other, x):
    """Outputs and input gradients of two functions, for one random gradient of the output."""
    out, like = one(x), other(x)
    towards = torch.randn_like(out)
    return (
        (out, torch.autograd.grad(out, x, towards)[0]),
        (like, torch.autograd.grad(like, x, towards)[0]),
    )


def assert_same(one, other, x):
    close = {"rtol": TOLERANCE[x.dtype], "atol": TOLERANCE[x.dtype]}
    for result, expected in zip(*both_ways(one, other, x), strict=True):
        torch.testing.assert_close(result, expected, **close)


def signals(network, *shape):
    return torch.randn(*shape, dtype=network.out.weight.dtype, requires_grad=True)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("frames", [1, 2, 25, 26, 51, 125])
def test_convolutions_equal_their_modules(network, batch, frames):
    x = signals(network, batch, frames, 80)
    assert_same(lambda x: by_bands(network, x), lambda x: by_modules(network, x), x)


@pytest.mark.parametrize(("batch", "frames"), [(1, 1), (1, 125), (2, 2), (28, 9), (64, 20)])
def test_lstms_equal_their_modules(network, batch, frames):
    for lstm in (network.lstm1, network.lstm2):
        x = signals(network, batch, frames, lstm.input_size)
        assert_same(lambda x, m=lstm: frozen_lstm.frozen_lstm(m, x), lambda x, m=lstm: m(x)[0], x)


def test_strided_signals_and_gradients(network):
    x = signals(network, 125, 80, 2)
    for form in (
        lambda x: by_bands(network, x),
        lambda x: frozen_lstm.frozen_lstm(network.lstm1, x),
    ):
        turned = x.permute(2, 0, 1)
        (one,) = torch.autograd.grad(form(turned).transpose(0, 2).square().sum(), x)
        (like,) = torch.autograd.grad(form(turned.contiguous()).square().sum(), x)
        torch.testing.assert_close(one, like)


@pytest.fixture
def module_path(monkeypatch):
    """Computes a network by its modules alone."""

    def compute(network, x):
        with monkeypatch.context() as patch:
            patch.setattr(attention_rnn, "is_frozen", lambda *_: False)
            patch.setattr(frozen_lstm, "is_frozen", lambda *_: False)
            return network(x)

    return compute


@pytest.mark.parametrize("batch", [1, WORTHWHILE])
def test_network_equals_its_modules(network, module_path, batch):
    x = signals(network, batch, 125, 80)
    assert_same(network, lambda x: module_path(network, x), x)
    with torch.no_grad():
        close = TOLERANCE[x.dtype]
        torch.testing.assert_close(network(x), module_path(network, x), rtol=close, atol=close)


def test_random_control_equals_its_modules(network, module_path):
    x = signals(network, WORTHWHILE, 125, 80)
    source = attention_rnn_source(network, list("abcde")).door("log-mel")
    control = source.randomised(0, x.detach()[:8])
    assert not torch.equal(control.chain[0].norm1.running_mean, network.norm1.running_mean)
    assert_same(control, lambda x: module_path(control, x), x)


def test_no_weight_is_remembered(network, module_path):
    x = signals(network, WORTHWHILE, 10, 80)
    before = network(x)
    torch.manual_seed(1)
    network.load_state_dict(AttentionRNN(classes=5).state_dict())
    assert not torch.allclose(network(x), before)
    assert_same(network, lambda x: module_path(network, x), x)
    other = torch.float64 if x.dtype == torch.float32 else torch.float32
    network.to(other)
    x = signals(network, WORTHWHILE, 10, 80)
    assert_same(network, lambda x: module_path(network, x), x)


def test_functional_call_uses_the_weights_given(network, module_path):
    x = signals(network, WORTHWHILE, 10, 80)
    state = {name: value * 0.9 for name, value in network.state_dict().items()}
    changed = copy.deepcopy(network)
    changed.load_state_dict(state)
    assert_same(
        lambda x: torch.func.functional_call(network, state, (x,)),
        lambda x: module_path(changed, x),
        x,
    )
    wanted = {**state, "lstm1.weight_hh_l0": state["lstm1.weight_hh_l0"].requires_grad_()}
    torch.func.functional_call(network, wanted, (x,)).sum().backward()
    assert wanted["lstm1.weight_hh_l0"].grad.abs().sum() > 0


@pytest.mark.parametrize("part", ["conv1", "norm2", "lstm1", "lstm2", "out"])
def test_weights_that_want_a_gradient_get_one(network, part):
    module = network.get_submodule(part).requires_grad_(True)
    x = signals(network, WORTHWHILE, 10, 80)
    network(x).square().sum().backward()
    assert x.grad is not None
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


def test_batch_norms_that_learn_take_their_modules(network):
    network.norm1.train()
    before = network.norm1.running_mean.clone()
    network(signals(network, 4, 20, 80))
    assert not torch.equal(network.norm1.running_mean, before)


def test_which_batches_take_which_path(monkeypatch):
    lstm = nn.LSTM(3, 2, batch_first=True, bidirectional=True).requires_grad_(False)
    calls = []

    def noted(lstm, x):
        calls.append(len(x))
        return lstm(x)[0]

    monkeypatch.setattr(frozen_lstm, "frozen_lstm", noted)
    x = torch.zeros(WORTHWHILE, 4, 3, requires_grad=True)
    lstm_outputs(lstm, x)
    assert calls == [WORTHWHILE]
    lstm_outputs(lstm, x[1:])
    lstm_outputs(lstm, x.detach())
    with torch.no_grad():
        lstm_outputs(lstm, x)
    assert calls == [WORTHWHILE]


def test_gradients_by_finite_differences():
    torch.manual_seed(0)
    network = AttentionRNN(classes=2).double().eval().requires_grad_(False)
    x = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: by_bands(network, x), x)
    lstm = nn.LSTM(3, 2, batch_first=True, bidirectional=True).double().requires_grad_(False)
    assert torch.autograd.gradcheck(lambda x: frozen_lstm.frozen_lstm(lstm, x), x)


def test_backward_twice_through_one_graph_is_the_same():
    network = AttentionRNN(classes=2).eval().requires_grad_(False)
    x = torch.randn(WORTHWHILE, 6, 80, requires_grad=True)
    loss = network(x).square().sum()
    (one,) = torch.autograd.grad(loss, x, retain_graph=True)
    (again,) = torch.autograd.grad(loss, x)
    assert torch.equal(one, again)


def test_second_derivatives_are_refused():
    network = AttentionRNN(classes=2).eval().requires_grad_(False)
    x = torch.randn(WORTHWHILE, 6, 80, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        gradient.square().sum().backward()
