"""A small masked language model: a transformer that guesses the tokens that are hidden."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reprogram.lexicon import Lexicon, Tokenizer
from reprogram.sources.base import Stage, TorchSource
from reprogram.sources.hf.language import Embed, at_positions, trimmed
from reprogram.sources.sentence import text_specs
from reprogram.types import InputSpec, OutputSpec, Tokens, UserError


class Block(nn.Module):
    """Attention and two dense layers, each added to what it was told after a layer-norm.

    A token is told from another by how far off it stands: each head adds to its scores what it has
    learned of each distance. Heads begin by looking near, every other one back, the rest ahead.

    Arguments:
        width: Of the states.
        length: Tokens of a text at most.
        heads: Of the attention; they divide the width.
        dropout: In training.

    References:
        | Attention is all you need (Vaswani et al., 2017), arXiv 1706.03762
        | On layer normalization in the transformer architecture (Xiong et al., 2020),
          arXiv 2002.04745
        | Exploring the limits of transfer learning with a unified text-to-text transformer (Raffel
          et al., 2019), arXiv 1910.10683, whose learned distances these are

    Example:
        >>> block = Block(width=8, length=16, heads=2)
        >>> block(torch.zeros(3, 5, 8), torch.ones(3, 5, dtype=torch.bool)).shape
        torch.Size([3, 5, 8])
    """

    def __init__(self, *, width: int, length: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        away = torch.arange(1 - length, length)  # (2 length - 1,): the one behind is -1
        slopes = 2.0 ** -(torch.arange(heads) // 2 * 2)  # two heads, then two that look farther
        turned = away * (1 - torch.arange(heads) % 2 * 2)[:, None] > 0
        self.distances = nn.Parameter(-slopes[:, None] * away.abs() - 2.0 * turned)
        self.heads, self.dropout = heads, dropout
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.inward, self.outward = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, h: Tensor, real: Tensor) -> Tensor:
        """States (batch, length, width), where tokens stand (batch, length) -> states."""
        h = h + self._dropped(self._attention(self.norm1(h), real))
        return h + self._dropped(self.narrow(nn.functional.gelu(self.wide(self.norm2(h)))))

    def _attention(self, h: Tensor, real: Tensor) -> Tensor:
        batch, length, width = h.shape
        parts = self.inward(h).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # (batch, heads, length, width / heads)
        places = torch.arange(length, device=h.device)
        away = places - places[:, None] + self.distances.shape[1] // 2  # (length, length)
        told = self.distances[:, away].masked_fill(~real[:, None, None], float("-inf"))
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=told)
        return self.outward(mixed.transpose(1, 2).reshape(batch, length, width))

    def _dropped(self, h: Tensor) -> Tensor:
        return nn.functional.dropout(h, self.dropout, self.training)


class MaskedEncoder(nn.Module):
    """Embeddings to what the decoder reads, at the place that is asked for or at each.

    Blocks, and the head's dense layer; the places that nobody asks for leave before the head.

    Arguments:
        width: Of embeddings and states.
        length: Tokens of a text at most.
        layers: Blocks.
        heads: Of each.
        dropout: In training.

    Example:
        >>> encoder = MaskedEncoder(width=8, length=16, layers=2, heads=2)
        >>> x = Tokens(torch.zeros(3, 5, 8), torch.ones(3, 5), position=torch.tensor([0, 4, 2]))
        >>> encoder(x).shape, encoder(x._replace(position=None)).shape
        (torch.Size([3, 8]), torch.Size([3, 5, 8]))
    """

    def __init__(
        self, *, width: int, length: int, layers: int, heads: int, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.length = length
        self.enter = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(
            Block(width=width, length=length, heads=heads, dropout=dropout) for _ in range(layers)
        )
        self.leave = nn.LayerNorm(width)
        self.dense, self.norm = nn.Linear(width, width), nn.LayerNorm(width)

    def states(self, x: Tokens) -> Float[Tensor, "batch length width"]:
        """What the blocks make of each place."""
        length = x.values.shape[1]
        if length > self.length:
            raise UserError(f"a text of {length} tokens is longer than the {self.length} that this "
                            "source reads; cut it")  # fmt: skip
        real = x.mask > 0  # (batch, length)
        real = real | ~real.any(1, keepdim=True)  # without any token there is nothing to attend to
        h = self.enter(x.values)
        for block in self.blocks:
            h = block(h, real)
        return self.leave(h)

    def head(self, h: Float[Tensor, "*places width"]) -> Float[Tensor, "*places width"]:
        """What the decoder reads of the places that are asked for."""
        return self.norm(nn.functional.gelu(self.dense(h)))

    def forward(self, x: Tokens) -> Tensor:
        """Tokens of embeddings -> (batch, width) at ``position``, or (batch, length, width)."""
        if x.position is None:
            return self.head(self.states(x))
        return self.head(at_positions(self.states(trimmed(x)), x.position))


class Decoder(nn.Module):
    """Scores of all tokens, by the embeddings themselves.

    Arguments:
        table: Embeddings of the tokens.
        bias: (tokens,).
    """

    def __init__(self, table: nn.Embedding, bias: nn.Parameter) -> None:
        super().__init__()
        self.table, self.bias = table, bias

    def forward(self, h: Float[Tensor, "*places width"]) -> Float[Tensor, "*places tokens"]:
        """(..., width) -> (..., tokens)."""
        return nn.functional.linear(h, self.table.weight, self.bias)


class MaskedNetwork(nn.Module):
    """Ids to token scores at the places asked for: what is trained, and kept in a file.

    Arguments:
        vocabulary: Tokens there are; the first fills up.
        width: Of embeddings and states.
        length: Tokens of a text at most.
        layers: Blocks.
        heads: Of each.

    References:
        BERT: pre-training of deep bidirectional transformers (Devlin, Chang, Lee, Toutanova, 2018),
        arXiv 1810.04805

    Example:
        >>> network = MaskedNetwork(vocabulary=50, width=8, length=16, layers=1, heads=2)
        >>> asked = torch.tensor([[[5, 0], [2, 1], [0, 0]]])  # the second of two tokens
        >>> network(asked).shape
        torch.Size([1, 50])
    """

    def __init__(
        self, *, vocabulary: int, width: int, length: int, layers: int, heads: int
    ) -> None:
        super().__init__()
        self.embed = Embed(nn.Embedding(vocabulary, width))
        nn.init.normal_(self.table.weight, std=0.05)
        self.encoder = MaskedEncoder(width=width, length=length, layers=layers, heads=heads)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    @property
    def table(self) -> nn.Embedding:
        """Embeddings of the tokens, by which they are read and written."""
        return self.embed.table  # pyright: ignore[reportReturnType]

    def forward(self, x: Tensor) -> Float[Tensor, "asked tokens"]:
        """(batch, length, 2) of ids and of 1 where a token is asked for -> (asked, tokens)."""
        ids, asked = x.unbind(2)
        states = self.encoder.states(self.embed(Tokens(ids, ids != 0)))
        hidden = self.encoder.head(states[asked > 0])  # (asked, width)
        return nn.functional.linear(hidden, self.table.weight, self.bias)


def masked_source(
    network: MaskedNetwork, tokenizer: Tokenizer, *, uri: str | None = None
) -> TorchSource:
    """The network, frozen, with the doors ``tokens`` and ``embeddings`` and the exit ``hidden``.

    Arguments:
        network: Trained.
        tokenizer: By which it was.
        uri: Under which name a saved program finds it again.
    """
    vocabulary, width = network.table.weight.shape
    ids, embeddings = text_specs(network.table, network.encoder.length)
    stages = [
        Stage("tokens", ids, network.embed),
        Stage("embeddings", embeddings, network.encoder),
        Stage("hidden", InputSpec("embeddings", (width,)), Decoder(network.table, network.bias)),
    ]
    weight = network.table.weight
    lexicon = Lexicon(tokenizer, weight, weight, network.bias)
    output = OutputSpec("token scores", (vocabulary,))
    return TorchSource(stages, output, uri=uri, lexicon=lexicon)
