"""Small classifiers of sentences: an LSTM in one direction or both, and convolutions.

All three read the real tokens alone: how far a text is filled up, and with what, changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from reprogram.lexicon import Lexicon, Tokenizer
from reprogram.sources.base import Stage, TorchSource
from reprogram.sources.hf.language import Embed
from reprogram.types import InputSpec, OutputSpec, Tokens


def gathered(
    x: Tokens,
) -> tuple[Float[Tensor, "batch longest width"], Bool[Tensor, "batch longest"]]:
    """The real tokens of each text from the left, zeros behind them, and where they stand.

    Example:
        >>> x = Tokens(torch.tensor([[[1.], [2.], [3.], [4.]]]), torch.tensor([[0, 1, 0, 1]]))
        >>> values, real = gathered(x)
        >>> values[..., 0], real
        (tensor([[2., 4.]]), tensor([[True, True]]))
    """
    real = x.mask > 0  # (batch, length)
    lengths = real.sum(1)
    longest = max([1, *lengths.tolist()])
    order = real.logical_not().to(torch.uint8).argsort(dim=1, stable=True)[:, :longest]
    real = real.gather(1, order)
    values = x.values.gather(1, order[..., None].expand(-1, -1, x.values.shape[2]))
    return values.masked_fill(~real[..., None], 0.0), real


class LSTMEncoder(nn.Module):
    """The state of an LSTM behind the last token, and before the first of one that runs back.

    Without any token it is zero. Two layers of one direction each are faster here than one of
    both, which would need the texts packed.

    Arguments:
        width: Of the embeddings, which a tanh bounds.
        hidden: Units of one direction.
        both: Whether a second LSTM reads the text backwards.

    References:
        Adversarial reprogramming of text classification neural networks (Neekhara, Hussain,
        Dubnov, Koushanfar, 2019), arXiv 1809.01829, whose victims are such networks.

    Example:
        >>> encoder = LSTMEncoder(width=8, hidden=16, both=True)
        >>> encoder(Tokens(torch.zeros(2, 5, 8), torch.ones(2, 5))).shape
        torch.Size([2, 32])
    """

    def __init__(self, *, width: int, hidden: int, both: bool = False) -> None:
        super().__init__()
        self.ahead = nn.LSTM(width, hidden, batch_first=True)
        self.back = nn.LSTM(width, hidden, batch_first=True) if both else None
        self.size = hidden * (2 if both else 1)
        for name, parameter in self.named_parameters():
            if "weight_hh" in name:
                for gate in parameter.data.chunk(4):
                    nn.init.orthogonal_(gate)
            elif "bias" in name:
                nn.init.zeros_(parameter)
            if "bias_ih" in name:
                parameter.data[hidden : 2 * hidden] = 1  # the forget gate starts open
            if "bias_hh" in name:  # a second bias tells nothing
                parameter.requires_grad_(False)

    def forward(self, x: Tokens) -> Float[Tensor, "batch size"]:
        """Tokens of embeddings (batch, length, width) -> (batch, size)."""
        values, real = gathered(x)
        values, lengths = values.tanh(), real.sum(1)  # (batch, longest, width), (batch,)
        last = (lengths - 1).clamp(min=0)[:, None]  # (batch, 1)
        states = [_at(self.ahead(values)[0], last)]
        if self.back is not None:
            places = torch.arange(values.shape[1], device=values.device)
            turned = (last - places).clamp(min=0)  # (batch, longest): the last token first
            states.append(_at(self.back(_at(values, turned))[0], last))
        return torch.cat(states, 2)[:, 0] * (lengths > 0)[:, None]


def _at(values: Tensor, places: Tensor) -> Tensor:
    """(batch, length, width) at places (batch, n) -> (batch, n, width)."""
    return values.gather(1, places[..., None].expand(-1, -1, values.shape[2]))


class CNNEncoder(nn.Module):
    """The strongest answer of each filter to the windows that begin at a token.

    Windows reach over the end of a text into zeros. Without any token the answer is zero.

    Arguments:
        width: Of the embeddings.
        filters: For each size of window.
        windows: Sizes, in tokens.

    References:
        Convolutional neural networks for sentence classification (Kim, 2014), arXiv 1408.5882.

    Example:
        >>> encoder = CNNEncoder(width=8, filters=16)
        >>> encoder(Tokens(torch.zeros(2, 5, 8), torch.ones(2, 5))).shape
        torch.Size([2, 48])
    """

    def __init__(self, *, width: int, filters: int, windows: Sequence[int] = (3, 4, 5)) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv1d(width, filters, size) for size in windows)
        self.size = filters * len(windows)

    def forward(self, x: Tokens) -> Float[Tensor, "batch size"]:
        """Tokens of embeddings (batch, length, width) -> (batch, size)."""
        values, real = gathered(x)
        strongest = []
        for convolution in self.convolutions:
            reach = int(convolution.kernel_size[0]) - 1  # pyright: ignore
            answers = convolution(nn.functional.pad(values.mT, (0, reach))).relu()
            strongest.append((answers * real[:, None]).amax(2))  # (batch, filters)
        return torch.cat(strongest, 1)


class SentenceClassifier(nn.Module):
    """An encoder and a linear layer.

    Arguments:
        encoder: Tokens of embeddings to (batch, encoder.size).
        classes: Number of outputs.
        dropout: Share of the encoder's outputs that training drops.
    """

    def __init__(
        self, encoder: LSTMEncoder | CNNEncoder, *, classes: int, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(encoder.size, classes)

    def features(self, x: Tokens) -> Float[Tensor, "batch size"]:
        """What enters the last layer."""
        return self.encoder(x)

    def forward(self, x: Tokens) -> Float[Tensor, "batch classes"]:
        """Tokens of embeddings (batch, length, width) -> logits (batch, classes)."""
        return self.out(self.dropout(self.features(x)))


class SentenceNetwork(nn.Module):
    """Ids to logits: what is trained, and kept in a file.

    Arguments:
        encoder: Of embeddings.
        vocabulary: Tokens there are; the first fills up.
        width: Of their embeddings.
        classes: Number of outputs.

    Example:
        >>> network = SentenceNetwork(
        ...     CNNEncoder(width=8, filters=16), vocabulary=100, width=8, classes=3)
        >>> network(torch.tensor([[5, 7, 0, 0]])).shape
        torch.Size([1, 3])
    """

    def __init__(
        self, encoder: LSTMEncoder | CNNEncoder, *, vocabulary: int, width: int, classes: int
    ) -> None:
        super().__init__()
        self.embed = Embed(nn.Embedding(vocabulary, width))
        self.classifier = SentenceClassifier(encoder, classes=classes)

    def forward(self, ids: Tensor) -> Float[Tensor, "batch classes"]:
        """(batch, length), zeros behind each text -> logits (batch, classes)."""
        return self.classifier(self.embed(Tokens(ids, ids != 0)))


def text_specs(table: nn.Embedding, length: int) -> tuple[InputSpec, InputSpec]:
    """The doors ``tokens`` and ``embeddings`` of a source with this table.

    Arguments:
        table: Embeddings of the tokens.
        length: Tokens of a text at most.
    """
    vocabulary, width = table.weight.shape
    weight = table.weight.detach()
    ids = InputSpec("tokens", (length,), lower=0.0, upper=float(vocabulary - 1))
    mean, std = weight.mean().item(), weight.std().item()
    return ids, InputSpec("embeddings", (length, width), normalised=True, mean=mean, std=std)


def sentence_source(
    network: SentenceNetwork, tokenizer: Tokenizer, names: Sequence[str], *, length: int,
    uri: str | None = None,
) -> TorchSource:  # fmt: skip
    """The network, frozen, with the doors ``tokens`` and ``embeddings``.

    Arguments:
        network: Trained.
        tokenizer: By which it was.
        names: Of its classes, in order.
        length: Tokens of a text at most.
        uri: Under which name a saved program finds it again.
    """
    ids, embeddings = text_specs(network.embed.table, length)  # pyright: ignore[reportArgumentType]
    stages = [
        Stage("tokens", ids, network.embed),
        Stage("embeddings", embeddings, network.classifier),
    ]
    lexicon = Lexicon(tokenizer, network.embed.table.weight)  # pyright: ignore
    output = OutputSpec("classes", (len(names),), tuple(names))
    return TorchSource(stages, output, uri=uri, lexicon=lexicon)
