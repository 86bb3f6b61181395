"""The field in one line: ``mapping(source(transformation(x)))``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from reprogram.criteria import Criterion
from reprogram.draws import forked_rng
from reprogram.mappings import Mapping
from reprogram.optim import unflatten
from reprogram.sources import Source
from reprogram.transformations import Transformation
from reprogram.types import Batch, Tokens, joined


class Reprogrammed(nn.Module):
    """A frozen source between an input transformation and an output mapping.

    Arguments:
        source: Frozen.
        transformation: Target batch -> source input; bound.
        mapping: Source output -> target prediction; bound.

    Example:
        >>> import reprogram
        >>> source = reprogram.load_source("zoo:images")
        >>> task = reprogram.load_task("digits")
        >>> parts = reprogram.recipes.ar(source, task)
        >>> parts.bind(task.spec)
        >>> model = Reprogrammed(source, parts.transformation, parts.mapping)
        >>> model(torch.rand(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """

    def __init__(self, source: Source, transformation: Transformation, mapping: Mapping) -> None:
        super().__init__()
        self.source, self.transformation, self.mapping = source, transformation, mapping

    def forward(self, x: Tensor) -> Tensor:
        """(batch, *target) -> log-scores (batch, target_classes)."""
        return self.run(self.transformation.prepare(x))

    def run(self, prepared: Tensor) -> Tensor:
        """The same from what the transformation has prepared."""
        return self.mapping(self.source(self.transformation(prepared)))


class BatchObjective:
    """The losses of one batch as a function of the transformation's parameters.

    Every evaluation of a step draws the same random numbers, so losses differ by the parameters
    alone; see :class:`~reprogram.optim.Objective` for the ways of calling it. The mapping observes
    the outputs that the losses come from, each of P evaluations with 1/P of its sample's weight; so
    does the criterion what became of them, and the transformation what came of the first.

    Arguments:
        model: Bound.
        criterion: One loss a sample.
        batch: Prepared inputs, targets, weights.
        seed: The run's.
        step: The step's number.
    """

    def __init__(
        self,
        model: Reprogrammed,
        criterion: Criterion,
        batch: tuple[Tensor, Tensor, Tensor],
        *,
        seed: int,
        step: int,
    ) -> None:
        self.model, self.criterion, self.seed, self.step = model, criterion, seed, step
        self.prepared, self.target, weight = batch
        # The mean over the batch is then the mean over its labelled samples, or over all labels.
        self.weight = weight * (len(weight) / weight.sum().clamp_min(1e-12))

    def __call__(self, parameters: Tensor | None = None, *, observe: bool = True) -> Tensor:
        """Losses (batch,), or (P, batch) of parameters (P, D) in one source call.

        Arguments:
            parameters: Of the transformation, flattened; ``None`` for those it has.
            observe: Whether the mapping, and running statistics, take notice of this call.
        """
        if parameters is None:
            with forked_rng(self.seed, self.step):
                output = self.model.source(self.model.transformation(self.prepared))
            return self._losses(output, 1, observe)[0]
        with torch.no_grad():
            inputs = [
                self._transform(row, first=observe and i == 0) for i, row in enumerate(parameters)
            ]
            output = self._asked(inputs)
        return self._losses(output, len(parameters), observe)

    def _asked(self, inputs: Sequence[Batch]) -> Tensor:
        """The source's outputs; a source that draws draws the same for each evaluation."""
        whole = inputs if self.model.source.random else [joined(inputs)]
        outputs = []
        for x in whole:
            with forked_rng(self.seed, self.step):
                outputs.append(self.model.source(x))
        return torch.cat(outputs)

    def sample(self, n: int) -> tuple[Tensor, Tensor]:
        """Losses (n, batch) of n draws of a discrete program, and their log-probabilities.

        One source call. The losses have a graph to the mapping, the log-probabilities (n, batch)
        to the transformation.

        Raises:
            UserError: if the transformation is not discrete.
        """
        with forked_rng(self.seed, self.step):
            inputs, log_probability = self.model.transformation.sample(self.prepared, n)
        with torch.no_grad():
            output = self.model.source(_one_batch(inputs))
        return self._losses(output, n, True), log_probability

    def _losses(self, output: Tensor, p: int, observe: bool) -> Tensor:
        """(P batch, *output) -> (P, batch)."""
        target, weight = torch.cat([self.target] * p), torch.cat([self.weight] * p)
        prediction = self.model.mapping(output)
        if observe:
            self.model.transformation.observe(self.prepared, output[: len(self.target)].detach())
            self.model.mapping.observe(output.detach(), target, weight / p)
            self.criterion.observe(prediction.detach(), target, weight / p)
        return self.criterion(prediction, target, weight).reshape(p, -1)

    def _transform(self, row: Tensor, *, first: bool) -> Batch:
        """The batch under other parameters; running statistics move once a step, by the first."""
        transformation = self.model.transformation
        named = [(n, v) for n, v in transformation.named_parameters() if v.requires_grad]
        values = unflatten(row, [v for _, v in named])
        state = {n: b.clone() for n, b in transformation.named_buffers()}
        state.update({n: v for (n, _), v in zip(named, values, strict=True)})
        with forked_rng(self.seed, self.step):
            x = torch.func.functional_call(transformation, state, (self.prepared,))
        if first:
            for name, buffer in transformation.named_buffers():
                buffer.copy_(state[name])
        return x


def _one_batch(draws: Tensor | Tokens) -> Tensor | Tokens:
    """Draws (n, batch, ...) as one batch (n batch, ...)."""
    if isinstance(draws, Tokens):
        return draws.map(lambda part: part.detach().flatten(0, 1))
    return draws.detach().flatten(0, 1)
