"""What all models of text have in common: their doors, their words, and what they are spared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from reprogram.lexicon import Lexicon
from reprogram.sources.hf.tokens import FileTokenizer
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


def trimmed(x: Tokens) -> Tokens:
    """Without the filling behind the longest text of a batch: the same answers, sooner.

    Example:
        >>> trimmed(Tokens(torch.ones(2, 5), torch.tensor([[1, 0, 0, 0, 0], [1, 1, 1, 0, 0]]))).mask
        tensor([[1, 0, 0],
                [1, 1, 1]])
    """
    places = x.mask.any(0).nonzero()
    longest = int(places[-1]) + 1 if len(places) else 1
    if x.position is not None and len(x.position):
        longest = max(longest, int(x.position.max()) + 1)
    return x._replace(values=x.values[:, :longest], mask=x.mask[:, :longest])


def hidden_states(body: nn.Module, x: Tokens) -> Tensor:
    """Tokens of embeddings (batch, length, width) -> the last layer's (batch, length, hidden)."""
    given = {"inputs_embeds": x.values, "attention_mask": x.mask.long(), "return_dict": True}
    return body(**given).last_hidden_state


def at_positions(hidden: Tensor, position: Tensor) -> Tensor:
    """Of each sample what stands at its position: (batch, length, width) -> (batch, width)."""
    return hidden[torch.arange(len(hidden), device=hidden.device), position.long()]


def put(model: nn.Module, new: nn.Module, *, instead_of: nn.Module) -> None:
    """Replace a module wherever it stands in a model.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
        >>> put(model, nn.Identity(), instead_of=model[0])
        >>> model(torch.tensor([0.0]))
        tensor([0.])
    """
    for parent in [*model.modules()]:
        for name, child in [*parent.named_children()]:
            if child is instead_of:
                setattr(parent, name, new)


def doors(
    model: Any, settings: dict[str, Any], length: int | None
) -> tuple[InputSpec, InputSpec, nn.Module]:
    """What may enter as ``tokens`` and as ``embeddings``, and the table between the two.

    Arguments:
        model: Of the transformers library.
        settings: Of its tokenizer's files, for its longest input.
        length: Tokens of one sample at most; if absent, as many as the model was tuned for, or its
            limit, up to 512.

    Raises:
        UserError: if ``length`` is above the model's limit, or the model is one that answers with
            a text of its own.
    """
    name = type(model).__name__
    if model.config.is_encoder_decoder:
        raise UserError(f"a {name} cannot be entered at its embeddings: it finds the end of the "
                        "text by token ids; take an encoder or a decoder")  # fmt: skip
    limit = _limit(model, settings)
    if length is not None and length > limit:
        raise UserError(f"option 'length' is {length}, and this {name} takes {limit} tokens at "
                        f"most; pass length <= {limit}")  # fmt: skip
    length = length or min(limit, settings.get("max_seq_length") or LONGEST)
    table = model.get_input_embeddings()
    vocabulary, width = table.weight.shape
    weight = table.weight.detach()
    ids = InputSpec("tokens", (length,), lower=0.0, upper=float(vocabulary - 1))
    embeddings = InputSpec(
        "embeddings", (length, width), normalised=True,
        mean=weight.mean().item(), std=weight.std().item(),
    )  # fmt: skip
    return ids, embeddings, table


def lexicon(
    uri: str, tokenizer: FileTokenizer | None, table: nn.Module, decoder: nn.Linear | None = None
) -> Lexicon:
    """What a model of text knows of its tokens; the tables are shared with the model.

    Raises:
        UserError: if the tokenizer has tokens that the table has no row for.
    """
    embeddings: Any = table.weight
    if tokenizer is not None and tokenizer.size > len(embeddings):
        raise UserError(f"source {uri}: its tokenizer has {tokenizer.size} tokens and the model "
                        f"embeds {len(embeddings)}: they are not of one model; put the tokenizer "
                        "that was saved with the model beside it")  # fmt: skip
    if decoder is None:
        return Lexicon(tokenizer, embeddings)
    return Lexicon(tokenizer, embeddings, decoder.weight, decoder.bias)


def sample(model: Any) -> Tokens:
    """Two texts as ids of a model: one whole, one whose last token the mask hides.

    Without a token that fills up there is the whole one only: such a model refuses to tell where
    the texts of a batch end.
    """
    padding = getattr(model.config.get_text_config(), "pad_token_id", None)
    vocabulary = len(model.get_input_embeddings().weight)
    ids = [i for i in range(min(vocabulary, 16)) if i != padding][-4:]
    mask = torch.ones(1 if padding is None else 2, len(ids), dtype=torch.long)
    values = torch.tensor(ids).repeat(len(mask), 1)
    if padding is not None:
        values[1, -1], mask[1, -1] = padding, 0
    return Tokens(values, mask)


def check(model: nn.Module, ours: Callable[[Tokens], Tensor], x: Tokens, expected: Tensor) -> None:
    """Entering by embeddings must give what the model gives for the ids, alone and in a batch.

    Arguments:
        model: That was taken apart.
        ours: What answers now: for each text, or for each of its places.
        x: A batch.
        expected: What the model answered to it before.

    Raises:
        UserError: if an answer differs.
    """
    batches = [torch.arange(len(expected)), *torch.arange(len(expected)).split(1)]
    for index in batches:
        part, its = x.map(lambda tensor, index=index: tensor[index]), expected[index]
        told = ours(part)
        if told.ndim == 3:  # at each place: what is told of filling is nobody's concern
            told, its = told[part.mask.bool()], its[part.mask.bool()]
        if told.shape != its.shape or not torch.allclose(told, its, rtol=1e-3, atol=1e-4):
            raise UserError(f"a {type(model).__name__} cannot be entered at its embeddings: it "
                            "answers differently than for token ids")  # fmt: skip


def _limit(model: Any, settings: dict[str, Any]) -> int:
    """The longest input in tokens."""
    config = model.config.get_text_config()
    limits = [settings.get("model_max_length"), getattr(config, "max_position_embeddings", None)]
    for module_name, module in model.named_modules():
        # RoBERTa and its kin count positions from behind the padding index.
        if module_name.endswith("position_embeddings") and getattr(module, "padding_idx", None):
            limits.append(module.num_embeddings - module.padding_idx - 1)
    return int(min([limit for limit in limits if limit and limit > 0], default=LONGEST))
