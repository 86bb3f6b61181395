"""What every frozen source model promises, and the two that hold any torch module or callable."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reprogram.sources.control import noise, permute, rescale
from reprogram.types import InputSpec, OutputSpec, Scores, Tokens, UserError


class Source(nn.Module):
    """A frozen model: no parameter wants a gradient, no buffer changes, dropout is off.

    Attributes:
        gradient: Whether a gradient may pass through to the input.
        scores: What the model tells (:class:`~reprogram.types.Scores`).
        input: What may enter.
        output: What comes out; classes come out as finite log-scores.
        uri: The name under which a saved program finds the source again, if it has one.
        vocabulary: Whether it can be given classes by name: ``with_classes(names, templates)``.
    """

    gradient: bool
    scores: Scores
    input: InputSpec
    output: OutputSpec
    uri: str | None = None
    vocabulary: bool = False

    def door(self, name: str) -> Source:
        """The same weights entered elsewhere.

        Raises:
            UserError: if there is no door of that name or kind.
        """
        if name == self.input.kind:
            return self
        raise UserError(
            f"source {self.uri or 'given'} has no door {name!r}; it has {self.input.kind}"
        )

    def features(self, x: Tensor | Tokens) -> Tensor | None:
        """What the model computes just before its last layer (batch, width), where it shows it."""
        del x
        return None

    def fingerprint(self) -> str:
        """A hash of weights and specifications; of the specifications alone for an opaque model."""
        raise NotImplementedError

    def randomised(self, seed: int, batch: Tensor | Tokens | None = None) -> Source:
        """The control: the same architecture knowing nothing."""
        del seed, batch
        raise UserError(f"source {self.uri or 'given'} is opaque: it has no random control")

    def train(self, mode: bool = True) -> Source:
        """Stays in evaluation mode, whatever is asked.

        Recurrent layers without dropout keep the training flag: it changes nothing they compute,
        and cuDNN refuses a backward pass through them without it.
        """
        del mode
        super().train(False)
        for module in self.modules():
            if isinstance(module, nn.RNNBase) and module.dropout == 0:
                module.training = True
        return self


@dataclass(frozen=True)
class Stage:
    """One link of a source's chain, with the door in front of it."""

    name: str
    input: InputSpec
    module: nn.Module


class TorchSource(Source):
    """Any ``nn.Module``, frozen in place (it is not copied), with one door or several.

    A source is a chain of stages, and in front of each stage there is a door: a spectrogram network
    is the chain ``waveform -> log-mel -> classes``, an image classifier ``image -> normalised ->
    classes``. The first stage's door is the one that is open; :meth:`door` opens another.

    Arguments:
        stages: The chain; a lone module with ``input`` is a chain of one.
        output: What the last stage returns.
        input: What a lone module takes.
        scores: What a ``classes`` module returns: ``LOGITS`` or ``PROBABILITIES``.
        uri: Under which name a saved program finds it again.

    Example:
        >>> source = TorchSource(
        ...     nn.Linear(4, 3), OutputSpec("classes", (3,)), input=InputSpec("table", (4,)))
        >>> source(torch.zeros(2, 4)).shape
        torch.Size([2, 3])
        >>> any(p.requires_grad for p in source.parameters())
        False
    """

    gradient = True

    def __init__(
        self,
        stages: Sequence[Stage] | nn.Module,
        output: OutputSpec,
        *,
        input: InputSpec | None = None,
        scores: Scores = Scores.LOGITS,
        uri: str | None = None,
    ) -> None:
        super().__init__()
        if isinstance(stages, nn.Module):
            if input is None:
                raise UserError("argument 'input' is missing: say what the module takes, "
                                "as InputSpec(kind, shape)")  # fmt: skip
            stages = [Stage(input.kind, input, stages)]
        if scores not in (Scores.LOGITS, Scores.PROBABILITIES):
            raise UserError(f"argument 'scores' is {scores.name}; a torch module gives "
                            "LOGITS or PROBABILITIES")  # fmt: skip
        self.stages = tuple(stages)
        self.chain = nn.ModuleList(stage.module for stage in stages)
        self.input, self.output, self.scores, self.uri = stages[0].input, output, scores, uri
        self.requires_grad_(False)
        self.train(False)

    def forward(self, x: Tensor | Tokens) -> Tensor:
        """(batch, *input.shape) -> (batch, *output.shape)."""
        for stage in self.chain:
            x = stage(x)
        if self.scores == Scores.PROBABILITIES:
            return log_scores(x, self.scores, self.output.shape[0])
        return x  # pyright: ignore[reportReturnType]

    def features(self, x: Tensor | Tokens) -> Tensor | None:
        """(batch, width): the last stage's ``features``, if it has that method."""
        *first, last = self.chain
        if not hasattr(last, "features"):
            return None
        for stage in first:
            x = stage(x)
        return last.features(x)  # pyright: ignore[reportCallIssue]

    @property
    def doors(self) -> tuple[str, ...]:
        """Names of this door and those behind it."""
        return tuple(stage.name for stage in self.stages)

    def door(self, name: str) -> TorchSource:
        """The same weights entered at the stage of that name, or else of that input kind."""
        found = [i for i, stage in enumerate(self.stages) if stage.name == name] or [
            i for i, stage in enumerate(self.stages) if stage.input.kind == name
        ]
        if not found:
            raise UserError(
                f"source {self.uri or 'given'} has no door {name!r}; it has {', '.join(self.doors)}"
            )
        if found[0] == 0:
            return self
        base = self.uri and self.uri.split("#")[0]
        stages = self.stages[found[0] :]
        uri = base and f"{base}#{stages[0].name}"
        return TorchSource(stages, self.output, scores=self.scores, uri=uri)

    def fingerprint(self) -> str:
        """SHA-256 over every weight and buffer behind the door, and the specifications."""
        digest = hashlib.sha256(_specs(self).encode())
        for name, tensor in sorted(self.chain.state_dict().items()):
            value = tensor.detach().cpu().contiguous()
            digest.update(f"{name}:{value.dtype}:{tuple(value.shape)}".encode())
            digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def randomised(self, seed: int, batch: Tensor | Tokens | None = None) -> TorchSource:
        """The same architecture with every weight tensor permuted in itself.

        Weights keep their distribution and lose what they learned. One pass over ``batch`` leaves
        the control as well scaled as the original: batch-norm statistics are re-estimated, and in
        a network without any normalisation layer the channels of each linear layer and
        convolution are rescaled until they have the original's means and standard deviations, in
        another order.

        Arguments:
            seed: Of the permutations.
            batch: Source inputs for that pass (batch, *input.shape); seeded noise of the door's
                shape if absent.
        """
        generator = torch.Generator().manual_seed(seed)
        stages = [Stage(s.name, s.input, copy.deepcopy(s.module)) for s in self.stages]
        for stage in stages:
            permute(stage.module, generator)
        control = TorchSource(stages, self.output, scores=self.scores)
        if batch is None:
            batch = noise(self.input, generator)
        rescale(control, self, batch, generator)
        return control


class CallableSource(Source):
    """Any callable that maps a batch to scores: a black box.

    Arguments:
        function: Takes a tensor (batch, *input.shape); returns an array or tensor: (batch, classes)
            of logits or probabilities, (batch,) of labels, or for ``TOP_K`` a pair of
            (batch, k) class indices and (batch, k) probabilities.
        input: What it takes.
        output: What it returns once read as log-scores.
        scores: What it tells.
        uri: Under which name a saved program finds it again.

    Example:
        >>> source = CallableSource(
        ...     lambda x: x.argmax(1), InputSpec("table", (3,)), OutputSpec("classes", (3,)),
        ...     scores=Scores.LABEL)
        >>> source(torch.eye(3)).argmax(1)
        tensor([0, 1, 2])
    """

    gradient = False

    def __init__(
        self,
        function: Callable[[Tensor], Any],
        input: InputSpec,
        output: OutputSpec,
        *,
        scores: Scores = Scores.LOGITS,
        uri: str | None = None,
    ) -> None:
        super().__init__()
        self.function = function
        self.input, self.output, self.scores, self.uri = input, output, scores, uri

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """(batch, *input.shape) -> (batch, *output.shape)."""
        raw = self.function(x.detach())
        if self.output.kind != "classes":
            return torch.as_tensor(raw, device=x.device)
        scores = log_scores(raw, self.scores, self.output.shape[0], device=x.device)
        if len(scores) != len(x):
            raise UserError(f"the source answered {len(scores)} of {len(x)} samples; its function "
                            "takes a batch and returns a row for each sample")  # fmt: skip
        return scores

    def fingerprint(self) -> str:
        """SHA-256 over the specifications: the weights cannot be seen."""
        return hashlib.sha256(_specs(self).encode()).hexdigest()


def log_scores(
    raw: Any, scores: Scores, classes: int, *, device: torch.device | None = None,
    epsilon: float = 1e-6,
) -> Tensor:  # fmt: skip
    """What a model told, as finite log-scores (batch, classes).

    Logits pass unchanged. Probabilities are floored at ``epsilon``. ``TOP_K`` spreads the mass that
    was not told evenly over the other classes; ``LABEL`` is one-hot with ``epsilon`` elsewhere.

    Raises:
        UserError: if the answer's shape does not fit or a value is not finite.

    Example:
        >>> told = (torch.tensor([[2, 0]]), torch.tensor([[0.5, 0.3]]))
        >>> log_scores(told, Scores.TOP_K, 4).exp()
        tensor([[0.3000, 0.1000, 0.5000, 0.1000]])
    """
    if scores == Scores.TOP_K:
        indices, told = _as_tensor(raw[0], device).long(), _as_tensor(raw[1], device).float()
        if indices.shape != told.shape or indices.ndim != 2:
            raise UserError(f"the source returned shapes {tuple(indices.shape)} and "
                            f"{tuple(told.shape)}; (batch, k) twice was promised")  # fmt: skip
        _check_classes(indices, classes)
        k = indices.shape[1]
        rest = (1 - told.sum(1, keepdim=True)).clamp_min(0) / max(classes - k, 1)
        value = rest.expand(-1, classes).scatter(1, indices, told)
    elif scores == Scores.LABEL:
        labels = _as_tensor(raw, device).long()
        if labels.ndim != 1:
            raise UserError(f"the source returned shape {tuple(labels.shape)}; labels of shape "
                            "(batch,) were promised")  # fmt: skip
        _check_classes(labels, classes)
        value = nn.functional.one_hot(labels, classes).float()
    else:
        raw = _as_tensor(raw, device)
        value = raw.float() if raw.dtype != torch.float64 else raw
    if value.ndim != 2 or value.shape[1] != classes:
        raise UserError(
            f"the source returned shape {tuple(value.shape)}; (batch, {classes}) was promised"
        )
    if not torch.isfinite(value).all():
        raise UserError("the source returned a score that is not finite; check its input range")
    return value if scores == Scores.LOGITS else value.clamp_min(epsilon).log()


def _as_tensor(raw: Any, device: torch.device | None) -> Tensor:
    return (raw if isinstance(raw, Tensor) else torch.as_tensor(np.asarray(raw))).to(device)


def _check_classes(indices: Tensor, classes: int) -> None:
    outside = indices[(indices < 0) | (indices >= classes)]
    if len(outside):
        raise UserError(f"the source returned class {int(outside[0])}; classes 0 to {classes - 1} "
                        "were promised")  # fmt: skip


def _specs(source: Source) -> str:
    specs = {"input": source.input.json(), "output": source.output.json(), "scores": source.scores}
    return json.dumps(specs, sort_keys=True)
