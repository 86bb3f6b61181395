"""Text classifiers of the transformers library."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from reprogram.sources.base import Stage, TorchSource
from reprogram.sources.hf.classifier import entering_last_layer
from reprogram.sources.hf.language import (
    OPTIONS,
    Embed,
    at_positions,
    check,
    doors,
    lexicon,
    put,
    sample,
    trimmed,
)
from reprogram.sources.hf.tokens import FileTokenizer
from reprogram.types import OutputSpec, Tokens

__all__ = ["OPTIONS", "TextClassifier", "source"]


class TextClassifier(nn.Module):
    """Tokens of embeddings in, float32 logits out.

    A model that decides on the last token (``score`` after a decoder) is read at the last position
    that the mask keeps, or where the tokens' ``position`` says. Its own ``forward`` finds that
    position from token ids, which a program at this door does not have.

    Arguments:
        model: A sequence classifier of the transformers library.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tokens) -> Tensor:
        """Tokens of embeddings (batch, length, width) -> logits (batch, classes)."""
        x = trimmed(x)
        mask = x.mask.long()  # (batch, longest)
        if not hasattr(self.model, "score"):
            given = {"inputs_embeds": x.values, "attention_mask": mask, "return_dict": True}
            return self.model(**given).logits.float()
        hidden = self._body(x, mask)  # (batch, longest, width)
        position = x.position
        if position is None:
            places = torch.arange(mask.shape[1], device=mask.device)
            position = (mask * places).argmax(1)
        return self.model.score(at_positions(hidden, position)).float()

    def features(self, x: Tokens) -> Tensor | None:
        """What enters the last layer: (batch, width), where the model ends in a linear layer."""
        return entering_last_layer(self, x)

    def _body(self, x: Tokens, mask: Tensor) -> Tensor:
        body = getattr(self.model, self.model.base_model_prefix)
        given = {"inputs_embeds": x.values, "attention_mask": mask, "return_dict": True}
        return body(**given, use_cache=False).last_hidden_state


def source(
    model: Any, settings: dict[str, Any], tokenizer: FileTokenizer | None, uri: str,
    *, length: int | None = None,
) -> TorchSource:  # fmt: skip
    """``tokens -> embeddings -> classes``.

    Arguments:
        model: A sequence classifier; taken apart.
        settings: Of its tokenizer's files, for its longest input.
        tokenizer: How it reads text, where that is known.
        uri: Under which name a saved program finds it again.
        length: Tokens of one sample at most; the model's limit, up to 512, if absent.

    Raises:
        UserError: if ``length`` is above the model's limit, the model cannot be entered at its
            embeddings, or the tokenizer is another model's.
    """
    ids, embeddings, table = doors(model, settings, length)
    with torch.no_grad():
        x = sample(model)
        expected = model(input_ids=x.values, attention_mask=x.mask, return_dict=True).logits
        put(model, nn.Identity(), instead_of=table)  # it stands at the door, once
        chain = nn.Sequential(Embed(table), TextClassifier(model))
        check(model, chain, x, expected)
    stages = [Stage("tokens", ids, chain[0]), Stage("embeddings", embeddings, chain[1])]
    config = model.config
    names = tuple(str(config.id2label[index]) for index in range(config.num_labels))
    output = OutputSpec("classes", (len(names),), names)
    return TorchSource(stages, output, uri=uri, lexicon=lexicon(uri, tokenizer, table))
