"""Prompts: what stands where, that only the prompts train, and what is refused."""

import json
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_language import WIDTH, coded, hidden_source, language_source, text_spec
from typechecker import unchecked

from reprogram import parts
from reprogram.sources import Source
from reprogram.texts import PAIR
from reprogram.transformations import Prompts
from reprogram.types import UserError

PAIRS = coded(f"the film was bad{PAIR}a very good plot", f"good{PAIR}the film", "the plot")
LAYOUTS: dict[str, Any] = {
    "twelve": 12,
    "two": 2,
    "none": 0,
    "behind": ["first", "mask", 3],
    "second first": [1, "second", "mask", 2, "first"],
    "no mask": [2, "first", "second"],
}


@pytest.fixture(params=LAYOUTS, name="layout")
def _layout(request) -> Any:
    return LAYOUTS[request.param]


def bound(layout: Any = 12, source: Source | None = None, **arguments: Any) -> Prompts:
    part = Prompts(layout, **arguments)
    part.bind(source or hidden_source(), text_spec())
    return part


def by_hand(part: Prompts, source: Source, text: str) -> list[torch.Tensor]:
    """Rows of one sample, a place at a time."""
    lexicon = source.lexicon
    assert lexicon is not None and lexicon.tokenizer is not None
    tokenizer, prompts = lexicon.tokenizer, iter(part.prompts)
    sentences = dict(zip(("first", "second"), tokenizer.encode(text.split(PAIR)), strict=False))
    rows = [lexicon.embeddings[tokenizer.start]]
    for item in part.layout:
        if isinstance(item, int):
            rows += [next(prompts) for _ in range(item)]
        elif item == "mask":
            rows.append(lexicon.embeddings[tokenizer.mask])
        else:
            rows += [lexicon.embeddings[i] for i in sentences.get(item, [])]
    return [*rows, lexicon.embeddings[tokenizer.end]]


def test_every_place_holds_what_the_layout_says(layout) -> None:
    source = hidden_source()
    part = bound(layout, source, start="normal")
    tokens = part(part.prepare(PAIRS))
    texts = ("the film was bad\x1fa very good plot", "good\x1fthe film", "the plot")
    longest = 0
    for row, mask, text in zip(tokens.values, tokens.mask, texts, strict=True):
        wanted = torch.stack(by_hand(part, source, text))
        assert mask.tolist() == [1] * len(wanted) + [0] * (len(mask) - len(wanted))
        torch.testing.assert_close(row[: len(wanted)], wanted)
        longest = max(longest, len(wanted))
    assert tokens.values.shape[1] == longest


def test_the_position_is_the_mask_that_was_put_there() -> None:
    part = bound([2, "first", 1, "mask", "second"])
    x = coded("[MASK] film [MASK]", f"good{PAIR}[MASK]", "")
    tokens = part(part.prepare(x))
    assert tokens.position.tolist() == [1 + 2 + 3 + 1, 1 + 2 + 1 + 1, 1 + 2 + 1]
    assert bound(["first"])(bound(["first"]).prepare(x)).position is None


def test_gradient_reaches_the_prompts_alone(layout) -> None:
    source, part = hidden_source(), bound(layout, start="normal")
    assert sum(p.numel() for p in part.parameters()) == part.count * WIDTH
    if part.count:
        source(part(part.prepare(PAIRS))).square().sum().backward()
        grad = part.get_parameter("prompts").grad
        assert grad is not None and grad.any(1).all()
    assert all(p.grad is None for p in source.parameters())


def test_a_long_pair_loses_the_end_of_its_longer_sentence() -> None:
    source, part = hidden_source(), bound(12)
    long, short = " ".join(["film"] * 9), "very good"
    assert part.room == 24 - 12 - 3
    tokens = part(part.prepare(coded(f"{long}{PAIR}{short}", longest=80)))
    kept = f"{' '.join(['film'] * 7)}{PAIR}{short}"
    torch.testing.assert_close(tokens.values[0], torch.stack(by_hand(part, source, kept)))
    assert tokens.values.shape[1] == 24
    tokens = part(part.prepare(coded(f"{short}{PAIR}{long}", longest=80)))
    kept = f"{short}{PAIR}{' '.join(['film'] * 7)}"
    torch.testing.assert_close(tokens.values[0], torch.stack(by_hand(part, source, kept)))
    both = part(part.prepare(coded(f"{long}{PAIR}{long}", longest=120)))
    assert both.mask.all() and both.position.tolist() == [1 + 3 + 5 + 3]


def test_tally_counts_tokens_unknown_and_cut() -> None:
    x = coded("the film was zzz", f"{'a ' * 8}{PAIR}{'b ' * 8}", "", longest=80)
    assert bound(12).tally(x) == {"tokens": 4 + 16, "unknown": 1 + 8, "cut": 1}


@pytest.mark.parametrize("longest", [60, 25])
def test_odd_texts_pass(longest: int) -> None:
    part, source = bound(4), hidden_source()
    x = coded("", "   ", PAIR, f"{PAIR}good", "\U0001f600 é", f"a{PAIR}b{PAIR}c", longest=longest)
    assert source(part(part.prepare(x))).isfinite().all()
    assert part(part.prepare(x[:0])).values.shape[0] == 0


def test_a_sample_does_not_see_the_length_of_the_others() -> None:
    part, source = bound(4, start="normal"), hidden_source()
    together = source(part(part.prepare(PAIRS)))
    alone = torch.cat([source(part(part.prepare(PAIRS[i : i + 1]))) for i in range(3)])
    torch.testing.assert_close(together, alone)


def test_prompts_start_where_they_are_told() -> None:
    table = hidden_source().lexicon.embeddings
    assert torch.equal(bound(3).prompts, table[4].expand(3, -1))
    words = bound(["first", 3, "mask"], start=["very", "", "un##like##ly"]).prompts
    torch.testing.assert_close(words, torch.stack([table[12], table[0], table[20:23].mean(0)]))
    draws = torch.cat([bound(20, hidden_source(brackets=False), start="normal", seed=s).prompts
                       for s in range(40)])  # fmt: skip
    torch.testing.assert_close(draws.mean(0), table.mean(0), atol=0.2, rtol=0.2)
    torch.testing.assert_close(draws.std(0), table.std(0), atol=0.2, rtol=0.2)


def test_described_saved_and_loaded_gives_the_same(layout, tmp_path) -> None:
    part = bound(layout, start="normal", seed=3)
    described = json.loads(json.dumps(parts.describe(part)))
    again = parts.build("transformations", described)
    assert parts.describe(again) == described
    again.bind(hidden_source(), text_spec())
    with torch.no_grad():
        for parameter in part.parameters():
            parameter += 1
    save_file(part.state_dict(), tmp_path / "part.safetensors")
    again.load_state_dict(load_file(tmp_path / "part.safetensors"))
    assert torch.equal(again(again.prepare(PAIRS)).values, part(part.prepare(PAIRS)).values)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Prompts(-1), "'layout' is -1"),
        (lambda: Prompts([2, "mask"]), "has no 'first'"),
        (lambda: Prompts(["first", "first"]), "'first' twice"),
        (lambda: Prompts(["first", "third"]), "'layout' is 'third'; give 'first', 'second' or"),
        (lambda: Prompts(["first", -2]), "has -2 prompts"),
        (lambda: Prompts(3, start="zeros"), "'start' is 'zeros'"),
        (lambda: Prompts(3, start=["a"]), "1 words for 3 prompts"),
        (lambda: bound(21), "21 prompts .* 24 places .* the source's 24; give fewer"),
        (lambda: bound(3, hidden_source(mask=False)), "has no mask token"),
        (lambda: bound([3, "first"], hidden_source(mask=False)), "'start' is 'mask'"),
        (lambda: bound(3, language_source()), "takes 'tokens' at this door"),
    ],
)
def test_a_bad_argument_is_named(make, said: str) -> None:
    with unchecked(), pytest.raises(UserError, match=said) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_source_without_a_tokenizer_is_refused() -> None:
    source = hidden_source()
    source.lexicon = None
    with pytest.raises(UserError, match="does not tell how it reads text"):
        bound(3, source)
