"""The promise of every source: frozen, named, hashed, and with a control that knows nothing."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tiny import (
    BANDS,
    CLASSES,
    FRAMES,
    WINDOW,
    ImageNetwork,
    SpeechNetwork,
    black_box,
    image_source,
    output_spec,
    seeded,
    series_task,
    speech_source,
)
from torch import Tensor, nn

from reprogram import sources
from reprogram.mappings import Linear
from reprogram.optim import Backprop
from reprogram.sources import CallableSource, Source, Stage, TorchSource, log_scores
from reprogram.train import Training, fit
from reprogram.transformations import PadSeries
from reprogram.types import InputSpec, OutputSpec, Scores, Tokens, UserError


def probabilities_source() -> TorchSource:
    network = nn.Sequential(seeded(SpeechNetwork), nn.Softmax(1))
    spec = InputSpec("features", (FRAMES, BANDS))
    return TorchSource(network, output_spec(), input=spec, scores=Scores.PROBABILITIES)


def zoo(name: str) -> TorchSource:
    source = sources.load(f"zoo:{name}")
    assert isinstance(source, TorchSource)
    return source


TORCH: dict[str, Callable[[], TorchSource]] = {
    "speech": speech_source,
    "features door": lambda: speech_source().door("features"),
    "image": image_source,
    "probabilities": probabilities_source,
    "zoo:images": lambda: zoo("images"),
    "zoo:speech-commands": lambda: zoo("speech-commands"),
    "zoo:speech-commands#log-mel": lambda: zoo("speech-commands#log-mel"),
}
OPAQUE: dict[str, Callable[[], CallableSource]] = {
    level.name: lambda level=level: black_box(image_source(), level) for level in Scores
}
EVERY: dict[str, Callable[[], Source]] = {**TORCH, **OPAQUE}


@pytest.fixture(params=EVERY)
def source(request) -> Source:
    return EVERY[request.param]()


@pytest.fixture(params=TORCH)
def torch_source(request) -> TorchSource:
    return TORCH[request.param]()


def inputs(source: Source, rows: int = 3) -> Tensor:
    """Seeded noise within the bounds of the door."""
    spec, generator = source.input, torch.Generator().manual_seed(0)
    if np.isfinite([spec.lower, spec.upper]).all():
        noise = torch.rand((rows, *spec.shape), generator=generator)
        return noise * (spec.upper - spec.lower) + spec.lower
    return torch.randn((rows, *spec.shape), generator=generator)


# --- every source --------------------------------------------------------------------------------


def test_scores_are_finite_and_of_the_promised_shape(source: Source) -> None:
    scores = source(inputs(source))
    assert scores.shape == (3, *source.output.shape)
    assert scores.dtype in (torch.float32, torch.float64)
    assert scores.isfinite().all()
    if source.scores != Scores.LOGITS:
        assert (scores <= 1e-6).all()
    assert len(source.output.names) in (0, source.output.shape[0])


def test_answers_repeat_whatever_mode_is_asked(source: Source) -> None:
    x = inputs(source)
    kept = x.clone()
    first = source.eval()(x)
    assert source.train() is source
    assert torch.equal(source(x), first)
    nn.Sequential(source).train()
    assert torch.equal(source(x), first)
    assert torch.equal(x, kept)


def test_no_parameter_wants_a_gradient(source: Source) -> None:
    assert not any(p.requires_grad for p in source.parameters())


def test_gradient_passes_where_it_is_promised(source: Source) -> None:
    x = inputs(source).requires_grad_()
    scores = source(x)
    assert scores.requires_grad == source.gradient
    if source.gradient:
        scores.square().sum().backward()
        assert x.grad is not None
        assert x.grad.isfinite().all() and x.grad.any()
        assert all(p.grad is None for p in source.parameters())


def test_nothing_changes_by_use(source: Source) -> None:
    before = {name: t.clone() for name, t in source.state_dict().items()}
    fingerprint = source.fingerprint()
    source.train()
    x = inputs(source).requires_grad_()
    if source.gradient:
        source(x).sum().backward()
    else:
        source(x)
    assert source.fingerprint() == fingerprint
    assert all(torch.equal(t, before[name]) for name, t in source.state_dict().items())


def test_samples_do_not_see_one_another(source: Source) -> None:
    x = inputs(source)
    alone = torch.cat([source(row[None]) for row in x])
    torch.testing.assert_close(source(x), alone, atol=1e-4, rtol=1e-4)


def test_an_unknown_door_is_named(source: Source) -> None:
    with pytest.raises(UserError, match=r"source .* has no door 'kitchen'; it has \w+"):
        source.door("kitchen")
    assert source.door(source.input.kind) is source


def test_the_fingerprint_is_of_the_specifications(source: Source) -> None:
    prints = {source.fingerprint()}
    assert source.fingerprint() in prints
    spec, output = source.input, source.output
    changes: list[dict[str, Any]] = [
        {"input": dataclasses.replace(spec, shape=(*spec.shape, 1))},
        {"input": dataclasses.replace(spec, lower=spec.lower - 1 if spec.lower > -9 else -3.0)},
        {"input": dataclasses.replace(spec, rate=11.0)},
        {"input": dataclasses.replace(spec, normalised=not spec.normalised)},
        {"input": dataclasses.replace(spec, mean=0.125)},
        {"output": dataclasses.replace(output, names=("other", *output.names[1:]))},
        {"scores": Scores.LABEL if source.scores != Scores.LABEL else Scores.TOP_K},
    ]
    for change in changes:
        before = {name: getattr(source, name) for name in change}
        for name, value in change.items():
            setattr(source, name, value)
        prints.add(source.fingerprint())
        for name, value in before.items():
            setattr(source, name, value)
    assert len(prints) == 1 + len(changes)


# --- torch sources -------------------------------------------------------------------------------


def test_dropout_is_off_and_recurrent_layers_may_go_backward(torch_source: TorchSource) -> None:
    torch_source.train()
    for module in torch_source.modules():
        recurrent = isinstance(module, nn.RNNBase) and module.dropout == 0
        assert module.training == recurrent, module


def test_a_module_is_frozen_in_place() -> None:
    network = seeded(SpeechNetwork)
    source = TorchSource(network, output_spec(), input=InputSpec("features", (FRAMES, BANDS)))
    assert source.chain[0] is network


def test_every_weight_and_buffer_is_in_the_fingerprint() -> None:
    source = speech_source()
    prints = {source.fingerprint()}
    state = source.chain.state_dict()
    for tensor in state.values():
        before = tensor.clone()
        tensor.reshape(-1)[-1] += 1
        prints.add(source.fingerprint())
        tensor.copy_(before)
    assert len(prints) == 1 + len(state)
    assert source.fingerprint() in prints


def test_the_fingerprint_outlives_a_fit_and_a_copy() -> None:
    source = speech_source()
    before = source.fingerprint()
    training = Training(source, PadSeries(), Linear(), Backprop(), epochs=1, batch_size=8)
    assert fit(training, series_task()).metrics["source_unchanged"]
    assert source.fingerprint() == before
    assert copy.deepcopy(source).fingerprint() == before
    assert speech_source().fingerprint() == before
    assert speech_source(seed=1).fingerprint() != before


def test_a_door_shares_the_weights_and_has_its_own_input() -> None:
    source = speech_source()
    door = source.door("log-mel")
    assert source.doors == ("waveform", "log-mel")
    assert door.doors == ("log-mel",)
    assert door.input == InputSpec("features", (FRAMES, BANDS))
    assert source.door("features").input == door.input
    shared = {id(p) for p in source.parameters()}
    assert {id(p) for p in door.parameters()} == shared
    x = inputs(source)
    assert torch.equal(door(source.chain[0](x)), source(x))
    assert door.fingerprint() != source.fingerprint()
    features = source.features(x)
    assert features is not None
    assert torch.equal(features, door.features(source.chain[0](x)))  # pyright: ignore
    with pytest.raises(UserError, match="no door 'waveform'; it has log-mel"):
        door.door("waveform")


def test_a_doors_uri_names_it() -> None:
    stages = speech_source().stages
    source = TorchSource(stages, output_spec(), uri="toy:speech")
    assert source.door("features").uri == "toy:speech#log-mel"
    assert source.door("waveform").uri == "toy:speech"


def test_features_are_none_where_they_are_not_shown() -> None:
    assert image_source().features(torch.rand(2, 3, 20, 20)) is None
    assert black_box(image_source()).features(torch.rand(2, 3, 20, 20)) is None


def test_probabilities_become_log_scores() -> None:
    source = probabilities_source()
    x = inputs(source)
    torch.testing.assert_close(source(x).exp(), source.chain[0](x))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: TorchSource(nn.Linear(1, 2), OutputSpec("classes", (2,))), "'input' is missing"),
        (lambda: TorchSource(nn.Linear(1, 2), OutputSpec("classes", (2,)), scores=Scores.LABEL,
                             input=InputSpec("table", (1,))), "'scores' is LABEL"),
    ],
)  # fmt: skip
def test_a_bad_argument_is_named(make: Callable[[], Source], said: str) -> None:
    with pytest.raises(UserError, match=said):
        make()


# --- the control ---------------------------------------------------------------------------------


def test_randomised_permutes_every_weight_tensor(torch_source: TorchSource) -> None:
    before = torch_source.fingerprint()
    control = torch_source.randomised(0)
    assert torch_source.fingerprint() == before
    assert control.fingerprint() != before
    assert control.input == torch_source.input and control.output == torch_source.output
    assert control.doors == torch_source.doors
    own, theirs = dict(torch_source.named_parameters()), dict(control.named_parameters())
    assert own.keys() == theirs.keys()
    for name in own:
        assert torch.equal(own[name].flatten().sort()[0], theirs[name].flatten().sort()[0]), name
        assert own[name].data_ptr() != theirs[name].data_ptr()
        if own[name].numel() > 20 and own[name].unique().numel() > 20:
            assert not torch.equal(own[name], theirs[name]), name
    assert not any(p.requires_grad for p in theirs.values())
    x = inputs(control)
    assert control.train()(x).isfinite().all()
    assert not torch.allclose(control(x), torch_source(x), atol=1e-3)
    for module in control.modules():
        assert module.training == (isinstance(module, nn.RNNBase) and module.dropout == 0)


def test_randomised_is_a_function_of_the_seed(torch_source: TorchSource) -> None:
    state = torch.get_rng_state()
    prints = [torch_source.randomised(seed).fingerprint() for seed in (1, 1, 2)]
    assert prints[0] == prints[1] != prints[2]
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("make", [speech_source, image_source])
def test_batch_norm_is_estimated_again_in_one_pass(make: Callable[[], TorchSource]) -> None:
    source = make()
    batch = inputs(source, 40)
    control = source.randomised(3, batch)
    seen: dict[nn.Module, Tensor] = {}
    norms = [m for m in control.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    twin = copy.deepcopy(control)
    twins = [m for m in twin.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for module in twins:
        module.training = True  # normalise by the batch, as the pass did
        module.register_forward_hook(lambda m, args, out: seen.update({m: args[0]}))
    twin(batch)
    assert norms
    for norm, module in zip(norms, twins, strict=True):
        x = seen[module].transpose(0, 1).flatten(1)  # (channels, everything)
        torch.testing.assert_close(norm.running_mean, x.mean(1), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(norm.running_var, x.var(1), atol=1e-5, rtol=1e-4)
        assert norm.momentum == 0.1


def plain_source(bias: bool = True) -> TorchSource:
    """A deep network without any normalisation layer, one layer of it met twice."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        middle = nn.Conv2d(8, 8, 3, padding=1, bias=bias)
        network = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, bias=bias), nn.ReLU6(), middle, nn.ReLU6(),
            nn.Conv2d(8, 4, 1, bias=bias), nn.Flatten(), nn.Linear(4 * 9 * 9, CLASSES, bias=bias),
        )  # fmt: skip
    for parameter in network.parameters():
        parameter.data *= 3
    return TorchSource(network, output_spec(), input=InputSpec("image", (3, 20, 20), 0, 1))


def channel_statistics(source: Source, batch: Tensor) -> list[Tensor]:
    """Mean and deviation of each channel of each layer's output, (2, channels) a layer."""
    told: list[Tensor] = []

    def hook(layer: nn.Module, args: Any, out: Tensor) -> None:
        rows = out.transpose(0, 1).flatten(1)
        told.append(torch.stack((rows.mean(1), rows.std(1))))

    for module in source.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.register_forward_hook(hook)
    source(batch)
    return told


@pytest.mark.parametrize("bias", [True, False])
def test_without_normalisation_every_layer_is_matched(bias: bool) -> None:
    source = plain_source(bias)
    batch = inputs(source, 40)
    prints = [source.randomised(seed, batch).fingerprint() for seed in (1, 1, 2)]
    assert prints[0] == prints[1] != prints[2]
    before = source.fingerprint()
    control = source.randomised(1, batch)
    assert source.fingerprint() == before
    for own, theirs in zip(
        channel_statistics(control, batch), channel_statistics(source, batch), strict=True
    ):
        for mine, other in zip(own[0 if bias else 1 :], theirs[0 if bias else 1 :], strict=True):
            torch.testing.assert_close(mine.sort()[0], other.sort()[0], rtol=1e-3, atol=1e-4)
    for mine, other in zip(control.parameters(), source.parameters(), strict=True):
        assert mine.stride() == other.stride()
        assert not torch.allclose(mine, other, atol=1e-3)
    assert not any(p.requires_grad for p in control.parameters())
    assert control.randomised(5).fingerprint() == control.randomised(5).fingerprint()


def test_a_deep_control_without_normalisation_still_hears_its_input() -> None:
    """Matched as a whole, a layer's deviation would soon be that of its channels' offsets."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Sequential(nn.Linear(32, 32), nn.ReLU()) for _ in range(20)]
        network = nn.Sequential(nn.Linear(8, 32), *layers, nn.Linear(32, CLASSES))
        for parameter in network.parameters():
            parameter.data *= 2.4 if parameter.ndim > 1 else 20
    source = TorchSource(network, output_spec(), input=InputSpec("table", (8,)))
    batch = inputs(source, 100)
    spread = source.randomised(0, batch)(batch).std(0).mean() / source(batch).std(0).mean()
    assert 0.9 < spread < 1.1


def test_a_layer_met_twice_is_matched_once_and_a_silent_one_stays_silent() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared, self.silent = nn.Linear(4, 4), nn.Linear(4, 4)
            nn.init.zeros_(self.silent.weight)

        def forward(self, x: Tensor) -> Tensor:
            return self.shared(self.shared(x)) + self.silent(x)

    source = TorchSource(seeded(Twice), OutputSpec("classes", (4,)), input=InputSpec("table", (4,)))
    control = source.randomised(0)
    x = inputs(control, 200)
    assert control(x).isfinite().all()
    assert not control.chain[0].silent.weight.any()


def test_a_network_of_embeddings_gets_tokens_in_its_control() -> None:
    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(6, 3)

        def forward(self, x: Tokens) -> Tensor:
            return self.out((x.values * x.mask[..., None]).mean(1))

    class Embed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(9, 6)

        def forward(self, x: Tokens) -> Tokens:
            return x._replace(values=self.table(x.values))

    stages = [
        Stage("tokens", InputSpec("tokens", (5,), 0, 8), seeded(Embed)),
        Stage("embeddings", InputSpec("embeddings", (5, 6)), seeded(Mean)),
    ]
    source = TorchSource(stages, OutputSpec("classes", (3,)))
    for opened in (source, source.door("embeddings")):
        assert opened.randomised(0).fingerprint() == opened.randomised(0).fingerprint()


def test_an_opaque_source_has_no_random_control() -> None:
    with pytest.raises(UserError, match="opaque: it has no random control"):
        black_box(image_source()).randomised(0)


# --- what a source tells -------------------------------------------------------------------------


def test_log_scores_of_each_level() -> None:
    z = torch.tensor([[2.0, 0.0, 1.0, -1.0]])
    p = z.softmax(1)
    assert torch.equal(log_scores(z, Scores.LOGITS, 4), z)
    assert torch.equal(log_scores(z.numpy(), Scores.LOGITS, 4), z)
    assert torch.equal(log_scores(z.tolist(), Scores.LOGITS, 4), z)
    torch.testing.assert_close(log_scores(p, Scores.PROBABILITIES, 4), p.log())
    told = (np.array([[0, 2]]), np.array([[0.6, 0.3]]))
    spread = log_scores(told, Scores.TOP_K, 4).exp()
    torch.testing.assert_close(spread, torch.tensor([[0.6, 0.05, 0.3, 0.05]]))
    torch.testing.assert_close(spread.sum(), torch.tensor(1.0))
    label = log_scores([2], Scores.LABEL, 4)
    assert label.argmax() == 2
    torch.testing.assert_close(label.exp(), torch.tensor([[1e-6, 1e-6, 1.0, 1e-6]]))


def test_certainty_stays_finite() -> None:
    sure = torch.tensor([[1.0, 0.0, 0.0]])
    assert log_scores(sure, Scores.PROBABILITIES, 3).isfinite().all()
    all_told = (torch.tensor([[0, 1, 2]]), torch.tensor([[1.0, 0.0, 0.0]]))
    assert log_scores(all_told, Scores.TOP_K, 3).isfinite().all()


@pytest.mark.parametrize(
    ("raw", "scores", "said"),
    [
        (torch.zeros(2, 5), Scores.LOGITS, r"shape \(2, 5\); \(batch, 4\) was promised"),
        (torch.zeros(4), Scores.PROBABILITIES, r"shape \(4,\)"),
        (torch.zeros(2, 4, 1), Scores.LOGITS, r"shape \(2, 4, 1\)"),
        (torch.tensor([[0.0, float("nan"), 0.0, 0.0]]), Scores.LOGITS, "not finite"),
        (torch.tensor([[0.0, float("inf"), 0.0, 0.0]]), Scores.PROBABILITIES, "not finite"),
        ([0, 4], Scores.LABEL, r"class 4; classes 0 to 3 were promised"),
        ([0, -1], Scores.LABEL, r"class -1; classes 0 to 3"),
        ([[0], [1]], Scores.LABEL, r"shape \(2, 1\); labels of shape \(batch,\)"),
        (([[0, 9]], [[0.5, 0.5]]), Scores.TOP_K, r"class 9; classes 0 to 3"),
        (([[0, 1]], [[0.5]]), Scores.TOP_K, r"shapes \(1, 2\) and \(1, 1\)"),
    ],
)  # fmt: skip
def test_an_answer_that_was_not_promised_is_named(raw: Any, scores: Scores, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        log_scores(raw, scores, 4)
    assert "\n" not in str(caught.value)


def test_a_callable_must_answer_for_every_sample() -> None:
    source = CallableSource(lambda x: x[:1], InputSpec("table", (3,)), OutputSpec("classes", (3,)))
    with pytest.raises(UserError, match="answered 1 of 5 samples"):
        source(torch.zeros(5, 3))


def test_a_callable_that_does_not_tell_classes_passes_through() -> None:
    source = CallableSource(
        lambda x: x.numpy() * 2, InputSpec("table", (3,)), OutputSpec("embedding", (3,))
    )
    assert torch.equal(source(torch.ones(2, 3)), torch.full((2, 3), 2.0))


# --- by name -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("images", "source 'images' is no URI; write SCHEME:NAME, such as zoo:images"),
        ("zop:images", "unknown source scheme 'zop'; did you mean 'zoo'"),
        ("zoo:imges", "unknown zoo source 'imges'; did you mean 'images'"),
        ("zoo:images#kitchen", "source zoo:images has no door 'kitchen'; it has image, normalised"),
    ],
)
def test_an_unknown_uri_is_named(uri: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        sources.load(uri)


@pytest.mark.parametrize("uri", [name for name in TORCH if ":" in name])
def test_a_source_is_found_again_by_its_uri(uri: str) -> None:
    source = sources.load(uri)
    assert source.uri == uri
    assert sources.load(uri).fingerprint() == source.fingerprint()


def test_tiny_sources_are_what_the_tests_take_them_for() -> None:
    assert WINDOW == FRAMES * BANDS
    assert output_spec().shape == (CLASSES,)
    assert isinstance(image_source().chain[0], ImageNetwork)
    assert isinstance(speech_source().stages[0], Stage)
