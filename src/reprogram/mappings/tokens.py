"""Target tokens from a language source's hidden states, place by place."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from reprogram.mappings.base import Mapping
from reprogram.types import SourceLike, TaskSpec, UserError


class TokenLinear(Mapping):
    """A linear map from the source's token scores to the target's, folded.

    ``logits_i = gamma (W h_i + b)`` with the source's frozen ``W`` and ``b`` and ``gamma`` (target
    tokens, source tokens) trained. It is computed as ``(gamma W) h_i + gamma b``: the same numbers,
    and the scores of the source's whole vocabulary are never made for every place. The source is
    left at ``hidden`` with no position given. What it says of its start and end tokens is dropped:
    place i of the prediction is place i of the target.

    References:
        | Reprogramming Pretrained Language Models for Antibody Sequence Infilling (Melnyk,
          Chenthamarakshan, Chen, Das, Dhurandhar, Padhi, Das, 2023). https://arxiv.org/abs/2210.07144

    Arguments:
        scale: Standard deviation of gamma's first values; 0.02 as BERT has it.
        seed: Of those.

    Raises:
        UserError: for a ``scale`` that is not positive.

    Example:
        >>> TokenLinear()
        TokenLinear(scale=0.02)
    """

    def __init__(self, *, scale: float = 0.02, seed: int = 0) -> None:
        super().__init__()
        if not 0 < scale < float("inf"):
            raise UserError(f"argument 'scale' is {scale}; give a positive number")
        self.scale, self.seed = scale, seed

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Take hold of the source's decoder, and draw gamma.

        Raises:
            UserError: if the task does not ask for tokens, or the source is not left at its hidden
                states or has no decoder.
        """
        if task.target != "tokens":
            raise UserError(f"TokenLinear predicts a token at each place; {task.name} asks for "
                            f"{task.target}: use Linear or Verbalizer")  # fmt: skip
        lexicon = source.lexicon
        if source.output.kind != "embedding" or lexicon is None or lexicon.weight is None:
            raise UserError(f"TokenLinear reads hidden states and a decoder; source "
                            f"{source.uri or 'given'} returns {source.output.kind!r}: take a "
                            "masked language model left at 'hidden'")  # fmt: skip
        # Neither a buffer, of which checkpoints would keep a copy, nor a part: it is the source's.
        self._lexicon = (lexicon,)
        tokenizer = lexicon.tokenizer
        self.before = int(tokenizer is not None and tokenizer.start is not None)
        self.length = task.input.shape[0]
        generator = torch.Generator().manual_seed(self.seed)
        gamma = torch.randn(len(task.classes), len(lexicon.weight), generator=generator)
        self.gamma = nn.Parameter(self.scale * gamma)

    def folded(self) -> tuple[Float[Tensor, "targets width"], Float[Tensor, " targets"]]:
        """``gamma W`` and ``gamma b``."""
        (lexicon,) = self._lexicon
        assert lexicon.weight is not None
        bias = self.gamma.new_zeros(len(lexicon.weight)) if lexicon.bias is None else lexicon.bias
        return self.gamma @ lexicon.weight, self.gamma @ bias

    def forward(
        self, output: Float[Tensor, "batch places width"]
    ) -> Float[Tensor, "batch length targets"]:
        """Scores of the target's tokens at each of its places; zero where nothing was said."""
        hidden = output[:, self.before : self.before + self.length]
        weight, bias = self.folded()
        logits = F.linear(hidden.to(weight.dtype), weight, bias)
        return F.pad(logits, (0, 0, 0, self.length - logits.shape[1]))

    def extra_repr(self) -> str:
        return f"scale={self.scale}"
