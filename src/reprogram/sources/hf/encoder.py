"""Sentence encoders: models of the transformers library whose hidden states are pooled."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reprogram.sources.base import Stage, TorchSource
from reprogram.sources.hf.language import (
    OPTIONS,
    Embed,
    check,
    doors,
    hidden_states,
    lexicon,
    put,
    sample,
    trimmed,
)
from reprogram.sources.hf.tokens import FileTokenizer
from reprogram.types import OutputSpec, Tokens, UserError

__all__ = ["OPTIONS", "SentenceEncoder", "pooling", "source"]

Pooling = Literal["mean", "cls"]


class SentenceEncoder(nn.Module):
    """Tokens of embeddings in, one vector a text out.

    Arguments:
        body: The model up to its last hidden states.
        pooling: ``mean`` of the places that the mask keeps (zeros for a text of none), or the
            first place, ``cls``.
    """

    def __init__(self, body: nn.Module, pooling: Pooling = "mean") -> None:
        super().__init__()
        self.body = body
        self.pooling: Pooling = pooling

    def forward(self, x: Tokens) -> Float[Tensor, "batch hidden"]:
        """Tokens of embeddings (batch, length, width) -> float32 (batch, hidden)."""
        x = trimmed(x)
        hidden = hidden_states(self.body, x)  # (batch, longest, hidden)
        return pool(hidden, x.mask, self.pooling).float()


def pool(
    hidden: Float[Tensor, "batch length hidden"], mask: Tensor, pooling: Pooling
) -> Float[Tensor, "batch hidden"]:
    """One vector of many.

    Example:
        >>> hidden = torch.tensor([[[1.0], [3.0], [9.0]]])
        >>> pool(hidden, torch.tensor([[1, 1, 0]]), "mean")
        tensor([[2.]])
    """
    if pooling == "cls":
        return hidden[:, 0]
    kept = mask.to(hidden)
    share = kept / kept.sum(1, keepdim=True).clamp(min=1)  # (batch, length)
    return torch.einsum("bl,bld->bd", share, hidden)


def pooling(settings: dict[str, Any], uri: str = "") -> Pooling:
    """What the file ``1_Pooling/config.json`` wants: ``mean`` or ``cls``.

    Arguments:
        settings: Of that file; without any, the mean.
        uri: Of the source, for an error.

    Raises:
        UserError: if it wants another, or several at once.

    Example:
        >>> pooling({}), pooling({"pooling_mode_cls_token": True})
        ('mean', 'cls')
    """
    wanted = settings.get("pooling_mode", "")
    names = [wanted] if isinstance(wanted, str) else [*wanted]
    flag = "pooling_mode_"
    names += [key.removeprefix(flag) for key, value in settings.items()
              if key.startswith(flag) and value is True]  # fmt: skip
    known: dict[str, Pooling] = {"mean": "mean", "mean_tokens": "mean", "cls": "cls",
                                 "cls_token": "cls"}  # fmt: skip
    names = [name for name in names if name] or ["mean"]
    if len(names) > 1 or names[0] not in known:
        raise UserError(f"source {uri}: its 1_Pooling/config.json wants {' and '.join(names)}; "
                        "supported is either mean_tokens or cls_token")  # fmt: skip
    return known[names[0]]


def source(
    model: Any, settings: dict[str, Any], tokenizer: FileTokenizer | None, uri: str,
    *, length: int | None = None,
) -> TorchSource:  # fmt: skip
    """``tokens -> embeddings -> embedding``: the pooled hidden states, as they are.

    Hidden states are pooled as ``1_Pooling/config.json`` says, by their mean where there is no such
    file. What a sentence-transformers folder may do behind that is left out: a ``Normalize``, whose
    division by the length loses a scale that a linear mapping can use, and a ``Dense`` layer. So is
    the model's own pooler.

    Arguments:
        model: A model without a head; taken apart.
        settings: Of the files beside it; ``pooling`` holds those of its pooling.
        tokenizer: How it reads text, where that is known.
        uri: Under which name a saved program finds it again.
        length: Tokens of one sample at most; if absent, as many as it was tuned for
            (``sentence_bert_config.json``), else the model's limit, up to 512.

    Raises:
        UserError: if ``length`` is above the model's limit, the model cannot be entered at its
            embeddings, its pooling is not supported, or the tokenizer is another model's.

    References:
        Sentence-BERT (Reimers, Gurevych, 2019), arXiv 1908.10084
    """
    how = pooling(settings.get("pooling", {}), uri)
    ids, embeddings, table = doors(model, settings, length)
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    with torch.no_grad():
        x = sample(model)
        given = model(input_ids=x.values, attention_mask=x.mask, return_dict=True)
        put(model, nn.Identity(), instead_of=table)  # it stands at the door, once
        chain = nn.Sequential(Embed(table), SentenceEncoder(model, how))
        expected = pool(given.last_hidden_state, x.mask, how)  # (texts, hidden)
        check(model, chain, x, expected)
    stages = [Stage("tokens", ids, chain[0]), Stage("embeddings", embeddings, chain[1])]
    output = OutputSpec("embedding", (expected.shape[1],))
    return TorchSource(stages, output, uri=uri, lexicon=lexicon(uri, tokenizer, table))
