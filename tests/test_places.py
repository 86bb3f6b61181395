"""A pattern in embeddings, behind a vocabulary layer."""

import pytest
import torch

from reprogram.sources import CallableSource
from reprogram.transformations import Places
from reprogram.types import InputSpec, OutputSpec, TaskSpec, Tokens, UserError

SPEC = InputSpec("embeddings", (9, 4))


def bound() -> Places:
    part = Places()
    source = CallableSource(len, SPEC, OutputSpec("embedding", (4,)))
    part.bind(source, TaskSpec("toy", SPEC, ("a", "b")))
    return part


def test_it_begins_as_nothing_and_moves_each_place_by_its_own() -> None:
    part, x = bound(), Tokens(torch.randn(2, 5, 4), torch.ones(2, 5))
    assert torch.equal(part(x).values, x.values)
    torch.nn.init.normal_(part.pattern)
    assert torch.allclose(part(x).values - x.values, part.pattern[:5].expand(2, 5, 4), atol=1e-6)
    part(x).values.sum().backward()
    assert part.pattern.grad is not None and (part.pattern.grad[:5] == 2).all()
    assert (part.pattern.grad[5:] == 0).all()


def test_a_longer_text_is_refused() -> None:
    with pytest.raises(UserError, match="10 places is longer than the 9"):
        bound()(Tokens(torch.zeros(1, 10, 4), torch.ones(1, 10)))


def test_it_stands_behind_embeddings_alone() -> None:
    source = CallableSource(len, SPEC, OutputSpec("embedding", (4,)))
    with pytest.raises(UserError, match="takes a task of kind 'embeddings'"):
        Places().bind(source, TaskSpec("toy", InputSpec("tokens", (9,)), ("a", "b")))
