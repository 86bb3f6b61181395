"""Text classifiers of the transformers library."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from reprogram.sources.base import Stage
from reprogram.sources.hf.classifier import entering_last_layer
from reprogram.types import InputSpec, Tokens, UserError

OPTIONS: dict[str, type] = {"length": int}
LONGEST = 512  # tokens, unless asked for more


class Embed(nn.Module):
    """Token ids to the model's own input embeddings.

    Arguments:
        table: The embedding layer.

    Example:
        >>> tokens = Tokens(torch.tensor([[1, 2, 0]]), torch.tensor([[1, 1, 0]]))
        >>> Embed(nn.Embedding(5, 4))(tokens).values.shape
        torch.Size([1, 3, 4])
    """

    def __init__(self, table: nn.Module) -> None:
        super().__init__()
        self.table = table

    def forward(self, x: Tokens) -> Tokens:
        """Tokens of ids (batch, length) -> of embeddings (batch, length, width)."""
        return x._replace(values=self.table(x.values.long()))


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
        mask = x.mask.long()  # (batch, length)
        if not hasattr(self.model, "score"):
            given = {"inputs_embeds": x.values, "attention_mask": mask, "return_dict": True}
            return self.model(**given).logits.float()
        hidden = self._body(x, mask)  # (batch, length, width)
        position = x.position
        if position is None:
            places = torch.arange(mask.shape[1], device=mask.device)
            position = (mask * places).argmax(1)
        rows = torch.arange(len(hidden), device=hidden.device)
        return self.model.score(hidden[rows, position]).float()

    def features(self, x: Tokens) -> Tensor | None:
        """What enters the last layer: (batch, width), where the model ends in a linear layer."""
        return entering_last_layer(self, x)

    def _body(self, x: Tokens, mask: Tensor) -> Tensor:
        body = getattr(self.model, self.model.base_model_prefix)
        given = {"inputs_embeds": x.values, "attention_mask": mask, "return_dict": True}
        return body(**given, use_cache=False).last_hidden_state


def stages(model: Any, settings: dict[str, Any], *, length: int | None = None) -> list[Stage]:
    """``tokens -> embeddings -> classes``.

    Arguments:
        model: A sequence classifier.
        settings: Of its tokenizer's file, for its longest input.
        length: Tokens of one sample at most; the model's limit, up to 512, if absent.

    Raises:
        UserError: if ``length`` is above the model's limit, or the model cannot be entered at its
            embeddings.
    """
    name = type(model).__name__
    if model.config.is_encoder_decoder:
        raise UserError(f"a {name} cannot be entered at its embeddings: it finds the end of the "
                        "text by token ids; take an encoder or a decoder")  # fmt: skip
    limit = _limit(model, settings)
    if length is not None and length > limit:
        raise UserError(f"option 'length' is {length}, and this {name} takes {limit} tokens at "
                        f"most; pass length <= {limit}")  # fmt: skip
    length = length or min(limit, LONGEST)
    table = model.get_input_embeddings()
    vocabulary, width = table.weight.shape
    ids = InputSpec("tokens", (length,), lower=0.0, upper=float(vocabulary - 1))
    weight = table.weight.detach()
    embeddings = InputSpec(
        "embeddings", (length, width), normalised=True,
        mean=weight.mean().item(), std=weight.std().item(),
    )  # fmt: skip
    chain = nn.Sequential(Embed(table), TextClassifier(model))
    _compare(model, chain, vocabulary)
    return [Stage("tokens", ids, chain[0]), Stage("embeddings", embeddings, chain[1])]


def _limit(model: Any, settings: dict[str, Any]) -> int:
    """The longest input in tokens."""
    config = model.config.get_text_config()
    limits = [settings.get("model_max_length"), getattr(config, "max_position_embeddings", None)]
    for module_name, module in model.named_modules():
        # RoBERTa and its kin count positions from behind the padding index.
        if module_name.endswith("position_embeddings") and getattr(module, "padding_idx", None):
            limits.append(module.num_embeddings - module.padding_idx - 1)
    return int(min([limit for limit in limits if limit and limit > 0], default=LONGEST))


@torch.no_grad()
def _compare(model: Any, chain: nn.Module, vocabulary: int) -> None:
    """Entering by embeddings must give what the model gives for the ids, with padding too."""
    padding = model.config.get_text_config().pad_token_id
    ids = [i for i in range(min(vocabulary, 16)) if i != padding][-4:]
    rows = [(ids, [1] * len(ids))]
    if padding is not None:  # without, a model refuses to tell where a text ends
        rows.append(([*ids[:-1], padding], [1] * (len(ids) - 1) + [0]))
    for row, kept in rows:
        tokens = Tokens(torch.tensor([row]), torch.tensor([kept]))
        expected = model(input_ids=tokens.values, attention_mask=tokens.mask, return_dict=True)
        if not torch.allclose(chain(tokens), expected.logits, rtol=1e-3, atol=1e-4):
            raise UserError(f"a {type(model).__name__} cannot be entered at its embeddings: it "
                            "answers differently than for token ids")  # fmt: skip
