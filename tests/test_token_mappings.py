"""Mappings behind language: rows for classes, folded token maps, and how infilling is measured."""

import itertools
import json
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import image_source
from tiny_language import WIDTH, hidden_source, language_source, text_spec
from torch import Tensor
from typechecker import unchecked

from reprogram import parts
from reprogram.diagnose import diversity, propose, recovery
from reprogram.mappings import Mapping, TokenLinear, Verbalizer
from reprogram.sources import Source
from reprogram.types import InputSpec, TaskSpec, UserError

LENGTH, ACIDS = 9, ("[PAD]", "[UNK]", "A", "C", "G")


def infill_spec() -> TaskSpec:
    return TaskSpec("infill", InputSpec("text", (LENGTH,)), ACIDS, target="tokens")


def bound(mapping: Mapping, source: Source | None = None, spec: TaskSpec | None = None) -> Any:
    mapping.bind(source or hidden_source(), spec or text_spec())
    return mapping


def states(*shape: int) -> Tensor:
    return torch.randn(*shape, WIDTH, generator=torch.Generator().manual_seed(0))


# --- verbalizer ----------------------------------------------------------------------------------


def test_classes_start_as_their_words() -> None:
    source = hidden_source()
    mapping = bound(Verbalizer(words=["no", "un##like##ly"]), source)
    weight, bias = source.lexicon.weight, source.lexicon.bias
    torch.testing.assert_close(mapping.weight, torch.stack([weight[14], weight[20:23].mean(0)]))
    torch.testing.assert_close(mapping.bias, torch.stack([bias[14], bias[20:23].mean()]))
    # what the source says of those words is what is predicted
    hidden = states(3)
    torch.testing.assert_close(mapping(hidden)[:, 0], (hidden @ weight.T + bias)[:, 14])


def test_a_row_and_a_bias_for_each_class_are_trained() -> None:
    spec = text_spec(classes=("a", "b", "c"))
    for make in (Verbalizer, lambda: Verbalizer(seed=1, scale=3.0)):
        mapping = bound(make(), spec=spec)
        mapping(states(4)).square().sum().backward()
        assert {n: tuple(p.shape) for n, p in mapping.named_parameters()} == {
            "weight": (3, WIDTH),
            "bias": (3,),
        }
        assert all(p.grad.any() for p in mapping.parameters())


# --- folded token maps ---------------------------------------------------------------------------


@pytest.mark.parametrize("brackets", [True, False])
@pytest.mark.parametrize("places", [1, LENGTH, LENGTH + 2, LENGTH + 5])
def test_folded_is_what_unfolded_is(brackets: bool, places: int) -> None:
    source = hidden_source(brackets=brackets)
    mapping = bound(TokenLinear(scale=1.0), source, infill_spec())
    hidden = states(4, places)
    logits = mapping(hidden)
    assert logits.shape == (4, LENGTH, len(ACIDS))
    gamma, lexicon = mapping.gamma, source.lexicon
    for row, place in itertools.product(range(4), range(LENGTH)):
        at = place + brackets
        if at >= places:
            assert not logits[row, place].any()
            continue
        scores = lexicon.weight @ hidden[row, at] + lexicon.bias  # every word of the source
        torch.testing.assert_close(logits[row, place], gamma @ scores, atol=1e-4, rtol=1e-4)


def test_the_gradient_of_the_folded_map_is_that_of_the_unfolded() -> None:
    source = hidden_source()
    mapping, lexicon = bound(TokenLinear(), source, infill_spec()), source.lexicon
    hidden = states(4, LENGTH + 2)
    mapping(hidden).square().sum().backward()
    gamma = mapping.gamma.detach().requires_grad_()
    unfolded = (hidden[:, 1:-1] @ lexicon.weight.T + lexicon.bias) @ gamma.T
    unfolded.square().sum().backward()
    torch.testing.assert_close(mapping.gamma.grad, gamma.grad, atol=1e-4, rtol=1e-4)


def test_a_checkpoint_holds_no_copy_of_the_decoder() -> None:
    mapping = bound(TokenLinear(), spec=infill_spec())
    assert not list(mapping.buffers())
    assert [n for n, _ in mapping.named_parameters()] == ["gamma"]


CASES = {
    "drawn": (lambda: Verbalizer(seed=2), text_spec, 0),
    "words": (lambda: Verbalizer(words=["no", "yes"]), text_spec, 0),
    "tokens": (lambda: TokenLinear(scale=0.5, seed=3), infill_spec, 1),
}


@pytest.mark.parametrize("case", CASES)
def test_described_saved_and_loaded_gives_the_same(case: str, tmp_path) -> None:
    make, spec, axes = CASES[case]
    mapping, hidden = bound(make(), spec=spec()), states(3, *[6] * axes)
    described = json.loads(json.dumps(parts.describe(mapping)))
    again = bound(parts.build("mappings", described), spec=spec())
    assert parts.describe(again) == described
    assert torch.equal(again(hidden), mapping(hidden))
    with torch.no_grad():
        for parameter in mapping.parameters():
            parameter += 1
    save_file(mapping.state_dict(), tmp_path / "mapping.safetensors")
    again.load_state_dict(load_file(tmp_path / "mapping.safetensors"))
    assert torch.equal(again(hidden), mapping(hidden))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Verbalizer(scale=0.0), "'scale' is 0.0"),
        (lambda: bound(Verbalizer(words=["yes"])), "1 words for 2 classes"),
        (lambda: bound(Verbalizer(words=["yes", "zzz"])), "'zzz', which the source does not know"),
        (lambda: bound(Verbalizer(words=["yes", ""])), "'', which the source does not know"),
        (lambda: bound(Verbalizer(words=["a", "b"]), hidden_source(decoder=False)), "has no rows"),
        (lambda: bound(Verbalizer(), language_source()), "returns 'token scores': leave it at"),
        (lambda: bound(Verbalizer(), image_source()), "returns 'classes': leave it at"),
        (lambda: bound(Verbalizer(), spec=infill_spec()), "asks for tokens"),
        (lambda: TokenLinear(scale=-1.0), "'scale' is -1.0"),
        (lambda: bound(TokenLinear()), "toy asks for classes"),
        (lambda: bound(TokenLinear(), language_source(), infill_spec()), "left at 'hidden'"),
        (lambda: bound(TokenLinear(), hidden_source(decoder=False), infill_spec()), "a decoder"),
    ],
)
def test_a_bad_argument_is_named(make, said: str) -> None:
    with unchecked(), pytest.raises(UserError, match=said) as caught:
        make()
    assert "\n" not in str(caught.value)


# --- recovery and diversity ----------------------------------------------------------------------

WEIGHTS = torch.tensor([[0.0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]])


def test_recovery_is_the_mean_share_of_each_sample() -> None:
    targets = torch.tensor([[0, 1, 2, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
    guess = torch.tensor([[1, 1, 0, 1], [1, 0, 0, 0], [1, 1, 1, 1]])
    assert recovery(torch.eye(3)[guess], targets, WEIGHTS) == pytest.approx((0.5 + 1) / 2)


@pytest.mark.parametrize("own", [True, False])
def test_diversity_is_that_of_all_pairs(own: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    samples = torch.randint(3, (7, 3, 4), generator=generator)
    pairs = [(i, j) for i, j in itertools.product(range(7), range(7)) if own or i != j]
    shares = []
    for row in (0, 1):
        asked = WEIGHTS[row] > 0
        equal = [(samples[i, row] == samples[j, row])[asked].double().mean() for i, j in pairs]
        shares.append(float(torch.stack(equal).mean()))
    assert diversity(samples, WEIGHTS, own=own) == pytest.approx(1 - sum(shares) / 2)


def test_proposals_follow_the_scores_place_by_place() -> None:
    scores = torch.tensor([[[0.0, 0.0, -1e9], [5.0, 5.0, 5.0]]])
    drawn = propose(scores, 3000, seed=1)
    assert drawn.shape == (3000, 1, 2)
    first, second = drawn[:, 0, 0].bincount(minlength=3), drawn[:, 0, 1].bincount(minlength=3)
    assert first[2] == 0 and abs(int(first[0]) - 1500) < 150
    assert (second - 1000).abs().max() < 150
    assert torch.equal(drawn, propose(scores, 3000, seed=1))
    both = torch.stack([drawn[:, 0, 0], drawn[:, 0, 1]]).float()
    assert abs(float(torch.corrcoef(both)[0, 1])) < 0.1


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: diversity(torch.zeros(1, 2, 3).long(), torch.ones(2, 3)), "has 1 draws"),
        (lambda: diversity(torch.zeros(2, 2, 3).long(), torch.zeros(2, 3)), "asks for no place"),
        (lambda: recovery(torch.zeros(2, 3, 4), torch.zeros(2, 3).long(), torch.zeros(2, 3)),
         "asks for no place"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused(make, said: str) -> None:
    with pytest.raises(UserError, match=said):
        make()
