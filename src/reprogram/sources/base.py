"""What every frozen source model promises, and the one that holds any torch module."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reprogram.lexicon import Lexicon
from reprogram.sources.control import noise, permute, permute_tables, rescale
from reprogram.sources.ledger import Ledger
from reprogram.sources.scores import log_scores
from reprogram.types import Batch, Cells, InputSpec, OutputSpec, Scores, UserError, rows, select

CALL = 256  # rows in one forward: larger ones leave a processor's caches and are slower


class Source(nn.Module):
    """A frozen model: no parameter wants a gradient, no buffer changes, dropout is off.

    Attributes:
        gradient: Whether a gradient may pass through to the input.
        scores: What the model tells (:class:`~reprogram.types.Scores`).
        input: What may enter.
        output: What comes out; classes come out as finite log-scores.
        uri: The name under which a saved program finds the source again, if it has one.
        vocabulary: Whether it can be given classes by name: ``with_classes(names, templates)``.
        lexicon: What it knows of its tokens, if it reads text and its weights can be seen.
        price: Of a thousand queries, where it is known.
        shows_features: Whether :meth:`features` has any.
        random: Whether it draws, from torch's generators: an automaton whose cells fire by chance.
        open: Whether its weights can be seen: they are hashed, and permuted for a random control.
    """

    gradient: bool
    scores: Scores
    input: InputSpec
    output: OutputSpec
    uri: str | None = None
    lexicon: Lexicon | None
    vocabulary: bool = False
    shows_features: bool = False
    random: bool = False
    open: bool = False
    price: float = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.lexicon = None  # no attribute of the class, which would hide a module of that name

    def ask(self, x: Batch, ledger: Ledger) -> Iterator[tuple[Tensor, Tensor]]:
        """Answers as they come: (rows of ``x`` as indices, outputs of those rows), each row once.

        A source that sends requests overrides this, so that an answer that has come is kept
        whatever becomes of the others.

        Arguments:
            x: A batch, as for :meth:`forward`.
            ledger: Of which every row is reserved before it is sent, and told afterwards.

        Raises:
            BudgetSpent: if the rows would pass the budget.
        """
        for index in torch.arange(rows(x)).split(CALL):
            ledger.reserve(len(index))
            try:
                output = self(select(x, index))
            except BaseException:
                ledger.refused(len(index))
                raise
            ledger.answered(len(index))
            yield index, output

    def keys(self, x: Batch) -> list[bytes]:
        """What tells one sample from another to this source: equal keys, equal answers."""
        if isinstance(x, Cells):
            raise UserError("an automaton under a program has no key: its answers cannot be kept")
        parts = [part for part in ((x,) if isinstance(x, Tensor) else x) if part is not None]
        arrays = [part.detach().cpu().contiguous().flatten(1).numpy() if part.ndim > 1
                  else part.detach().cpu()[:, None].numpy() for part in parts]  # fmt: skip
        return [
            hashlib.sha256(b"".join(row.tobytes() for row in rows)).digest()
            for rows in zip(*arrays, strict=True)
        ]

    def run(self, x: Batch) -> Iterator[Tensor]:
        """What comes out step by step, where a source has steps: the last one is the output."""
        yield self(x)

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

    def exit(self, name: str) -> Source:
        """The same weights left earlier: in front of the stage of that name.

        Raises:
            UserError: if there is no such stage.
        """
        raise UserError(f"source {self.uri or 'given'} has no exit {name!r}; it can only be left "
                        "at its end")  # fmt: skip

    def features(self, x: Batch) -> Tensor | None:
        """What the model computes just before its last layer (batch, width), where it shows it."""
        del x
        return None

    def fingerprint(self) -> str:
        """A hash of weights and specifications; of the specifications alone for an opaque model."""
        raise NotImplementedError

    def randomised(self, seed: int, batch: Batch | None = None) -> Source:
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
        lexicon: Of a source that reads text.

    Example:
        >>> source = TorchSource(
        ...     nn.Linear(4, 3), OutputSpec("classes", (3,)), input=InputSpec("table", (4,)))
        >>> source(torch.zeros(2, 4)).shape
        torch.Size([2, 3])
        >>> any(p.requires_grad for p in source.parameters())
        False
    """

    gradient = open = True

    def __init__(
        self,
        stages: Sequence[Stage] | nn.Module,
        output: OutputSpec,
        *,
        input: InputSpec | None = None,
        scores: Scores = Scores.LOGITS,
        uri: str | None = None,
        lexicon: Lexicon | None = None,
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
        self.lexicon = lexicon
        self.shows_features = hasattr(self.chain[-1], "features")
        self.random = any(getattr(module, "random", False) for module in self.chain)
        self.requires_grad_(False)
        self.train(False)

    def forward(self, x: Batch) -> Tensor:
        """(batch, *input.shape) -> (batch, *output.shape)."""
        for stage in self.chain:
            x = stage(x)
        if self.scores == Scores.PROBABILITIES:
            return log_scores(x, self.scores, self.output.shape[0])
        return x  # pyright: ignore[reportReturnType]

    def features(self, x: Batch) -> Tensor | None:
        """(batch, width): the last stage's ``features``, if it has that method."""
        *first, last = self.chain
        if not self.shows_features:
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
        lexicon = self.lexicon
        return TorchSource(stages, self.output, scores=self.scores, uri=uri, lexicon=lexicon)

    def exit(self, name: str) -> TorchSource:
        """The same weights left in front of the stage of that name: what enters it comes out.

        It is then an embedding of the shape that the stage takes; where the stage takes one place
        of a text at a time, a text without a ``position`` is told place by place.

        Raises:
            UserError: if there is no such stage behind this door.
        """
        found = [i for i, stage in enumerate(self.stages) if i > 0 and stage.name == name]
        if not found:
            exits = ", ".join(self.doors[1:]) or "none but its end"
            raise UserError(f"source {self.uri or 'given'} has no exit {name!r}; it has {exits}")
        base, _, door = (self.uri or "").partition("#")
        mark = "&" if "?" in base else "?"
        uri = f"{base}{mark}exit={name}{'#' if door else ''}{door}" if base else None
        output = OutputSpec("embedding", self.stages[found[0]].input.shape)
        return TorchSource(self.stages[: found[0]], output, uri=uri, lexicon=self.lexicon)

    def fingerprint(self) -> str:
        """SHA-256 over every weight and buffer behind the door, and the specifications."""
        digest = hashlib.sha256(specs(self).encode())
        for name, tensor in sorted(self.chain.state_dict().items()):
            value = tensor.detach().cpu().contiguous()
            digest.update(f"{name}:{value.dtype}:{tuple(value.shape)}".encode())
            digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
        if self.lexicon is not None:
            digest.update(self.lexicon.fingerprint().encode())
        return digest.hexdigest()

    def randomised(self, seed: int, batch: Batch | None = None) -> TorchSource:
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
        lexicon = copy.deepcopy(self.lexicon)
        if lexicon is not None:
            permute_tables(lexicon, generator)
            if stages[0].input.kind == "tokens":  # one table, whether read here or there
                lexicon.embeddings = stages[0].module.table.weight.detach()  # pyright: ignore
        control = TorchSource(stages, self.output, scores=self.scores, lexicon=lexicon)
        if batch is None:
            batch = noise(self.input, generator)
        rescale(control, self, batch, generator)
        return control


def specs(source: Source) -> str:
    """What a source takes and tells, as text to be hashed."""
    told = {"input": source.input.json(), "output": source.output.json(), "scores": source.scores}
    return json.dumps(told, sort_keys=True)
