"""Masked language models of the transformers library."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from reprogram.sources.base import Stage, TorchSource
from reprogram.sources.hf.language import (
    OPTIONS,
    Embed,
    at_positions,
    check,
    doors,
    hidden_states,
    lexicon,
    put,
    sample,
    trimmed,
)
from reprogram.sources.hf.tokens import FileTokenizer
from reprogram.types import InputSpec, OutputSpec, Tokens, UserError

__all__ = ["OPTIONS", "MaskedHidden", "source"]


class Given(nn.Module):
    """Stands where a model's body stood, and gives back the hidden states that it is given."""

    def forward(self, *unused: Any, inputs_embeds: Tensor | None = None, **others: Any) -> Any:
        """Whatever a body takes -> its output."""
        from transformers.modeling_outputs import BaseModelOutput

        del unused, others
        return BaseModelOutput(last_hidden_state=inputs_embeds)  # pyright: ignore


class Decoder(nn.Module):
    """The last layer: a score for each token of the vocabulary.

    Arguments:
        linear: (hidden -> tokens).

    Example:
        >>> Decoder(nn.Linear(4, 9))(torch.zeros(2, 4)).shape
        torch.Size([2, 9])
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, h: Tensor) -> Tensor:
        """(..., hidden) -> float32 (..., tokens)."""
        return self.linear(h).float()


class MaskedHidden(nn.Module):
    """Tokens of embeddings in, what enters the decoder out.

    Where the tokens' ``position`` is given, the head's layers are run at that one place of each
    text; otherwise at every place, and places behind the longest text of a batch hold zeros.

    Arguments:
        body: The model up to its last hidden states.
        head: The model from there on, without its decoder: it takes the hidden states as its
            ``inputs_embeds``.
    """

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.body, self.head = body, head

    def forward(self, x: Tokens) -> Tensor:
        """Tokens of (batch, length, width) -> (batch, hidden), or (batch, length, hidden)."""
        length = x.mask.shape[1]
        x = trimmed(x)
        hidden = hidden_states(self.body, x)  # (batch, longest, hidden)
        if x.position is not None:
            return self._transform(at_positions(hidden, x.position)[:, None])[:, 0]
        h = self._transform(hidden)
        return nn.functional.pad(h, (0, 0, 0, length - h.shape[1]))

    def _transform(self, hidden: Tensor) -> Tensor:
        """The head's dense layer, activation and normalisation: (batch, places, hidden)."""
        return self.head(inputs_embeds=hidden, return_dict=True).logits


def source(
    model: Any, settings: dict[str, Any], tokenizer: FileTokenizer | None, uri: str,
    *, length: int | None = None,
) -> TorchSource:  # fmt: skip
    """``tokens -> embeddings -> hidden -> token scores``.

    The stage ``hidden`` is the decoder: an exit there gives what the scores are computed from.

    Arguments:
        model: A masked language model; taken apart.
        settings: Of its tokenizer's files, for its longest input.
        tokenizer: How it reads text, where that is known.
        uri: Under which name a saved program finds it again.
        length: Tokens of one sample at most; the model's limit, up to 512, if absent.

    Raises:
        UserError: if ``length`` is above the model's limit, the model cannot be entered at its
            embeddings or does not end in a linear layer, or the tokenizer is another model's.
    """
    decoder = model.get_output_embeddings()
    if not isinstance(decoder, nn.Linear):
        raise UserError(f"a {type(model).__name__} is not supported: it does not end in a linear "
                        "layer of token scores")  # fmt: skip
    ids, embeddings, table = doors(model, settings, length)
    with torch.no_grad():
        x = sample(model)
        expected = model(input_ids=x.values, attention_mask=x.mask, return_dict=True).logits
        body = getattr(model, model.base_model_prefix)
        put(body, nn.Identity(), instead_of=table)  # it stands at the door, once
        put(model, nn.Identity(), instead_of=decoder)
        put(model, Given(), instead_of=body)
        chain = nn.Sequential(Embed(table), MaskedHidden(body, model), Decoder(decoder))
        check(model, chain, x, expected)
        second = torch.ones(len(expected), dtype=torch.long)
        check(model, chain, x._replace(position=second), expected[:, 1])
    hidden = InputSpec("embeddings", (decoder.in_features,), normalised=True)
    specs = {"tokens": ids, "embeddings": embeddings, "hidden": hidden}
    stages = [Stage(door, spec, module) for (door, spec), module in
              zip(specs.items(), chain, strict=True)]  # fmt: skip
    output = OutputSpec("token scores", (decoder.out_features,))
    return TorchSource(stages, output, uri=uri, lexicon=lexicon(uri, tokenizer, table, decoder))
