"""A transformers classifier as the last link of a source's chain."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from reprogram.types import Tokens


class Classifier(nn.Module):
    """One tensor in, float32 logits out.

    Arguments:
        model: A classifier of the transformers library.
        argument: Under which name its ``forward`` takes the input.
        channels_first: Whether it takes spectrograms as (bands, frames).
    """

    def __init__(self, model: nn.Module, argument: str, *, channels_first: bool = False) -> None:
        super().__init__()
        self.model, self.argument, self.channels_first = model, argument, channels_first

    def forward(self, x: Tensor) -> Tensor:
        """(batch, *shape) -> logits (batch, classes)."""
        if self.channels_first:
            x = x.transpose(1, 2)
        return self.model(**{self.argument: x}, return_dict=True).logits.float()

    def features(self, x: Tensor) -> Tensor | None:
        """What enters the last layer: (batch, width), where the model ends in a linear layer."""
        return entering_last_layer(self, x)


def entering_last_layer(classifier: Any, x: Tensor | Tokens) -> Tensor | None:
    """What enters the model's last linear layer when it is given ``x``, one row a sample.

    Arguments:
        classifier: Holds the ``model``; called with ``x``.
        x: A batch.
    """
    classes = classifier.model.config.num_labels
    layers = [
        module
        for module in classifier.model.modules()
        if isinstance(module, nn.Linear) and module.out_features == classes
    ]
    if not layers:
        return None
    caught: list[Tensor] = []
    # The last of them: a head that mixes before it decides may hold two of the same width.
    handle = layers[-1].register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    try:
        classifier(x)
    finally:
        handle.remove()
    return caught[-1] if caught and caught[-1].ndim == 2 else None
