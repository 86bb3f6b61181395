"""Any program sought in a random subspace of its parameters."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from reprogram.transformations.base import Transformation
from reprogram.transformations.sketch import sketch, synthesis
from reprogram.types import SourceLike, TaskSpec, Tokens, UserError


class Subspace(Transformation):
    """Any transformation, its parameters sought in a random subspace of few dimensions.

    The parameters of the inner part are ``start + B z``: ``start`` is where they start, ``z`` alone
    is trained (and saved), and ``B`` is a seeded count-sketch, each parameter being moved by one
    coefficient with a random sign. A unit step in a coefficient changes each of its parameters by
    1, so that step sizes of the inner part hold.

    What the inner part does in :meth:`advance` to parameters of its own does not reach ``z``.

    References:
        | Measuring the Intrinsic Dimension of Objective Landscapes (Li, Farkhoor, Liu, Yosinski,
          2018), section 2; theirs are dense and sparse projections.
          https://arxiv.org/abs/1804.08838

    Arguments:
        inner: Of which the program is made.
        size: Dimensions, 1 to the number of the inner part's parameters.
        seed: Of the projection.

    Raises:
        UserError: if the size is not 1 or more, or (in ``bind``) more than the inner parameters.

    Example:
        >>> from reprogram.sources import CallableSource
        >>> from reprogram.transformations import Frame
        >>> from reprogram.types import InputSpec, OutputSpec, TaskSpec
        >>> source = CallableSource(
        ...     len, InputSpec("image", (3, 32, 32), 0, 1), OutputSpec("classes", (10,)))
        >>> part = Subspace(Frame(), 50)
        >>> part.bind(source, TaskSpec("toy", InputSpec("image", (1, 16, 16), 0, 1), ("a", "b")))
        >>> [name for name, _ in part.named_parameters()], list(part.state_dict())
        (['z'], ['z'])
    """

    place: Tensor

    def __init__(self, inner: Transformation, size: int, *, seed: int = 0) -> None:
        super().__init__()
        if size < 1:
            raise UserError(f"argument 'size' is {size}; give a number of dimensions, 1 or more")
        self.inner: Transformation = inner
        self.size, self.seed, self.random = size, seed, inner.random

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Bind the inner part, and take its parameters' place.

        Raises:
            UserError: if it has none, or fewer than the subspace has dimensions.
        """
        self.inner.bind(source, task)
        self.shapes = {name: p.shape for name, p in self.inner.named_parameters()}
        count = sum(map(math.prod, self.shapes.values()))
        if self.size > count:
            raise UserError(
                f"argument 'size' of Subspace is {self.size}, and {type(self.inner).__name__} has "
                f"{count} parameters; " + (f"give {count} or less" if count else "it needs some")
            )
        for module in self.inner.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                delattr(module, name)
                module.register_buffer(name, parameter.detach(), persistent=False)
        self.register_buffer("place", sketch(count, self.size, self.seed), persistent=False)
        self.z = nn.Parameter(torch.zeros(self.size))

    def prepare(self, x: Tensor) -> Tensor:
        """The inner part's."""
        return self.inner.prepare(x)

    def forward(self, prepared: Tensor) -> Tensor | Tokens:
        """The inner part's, under ``start + B z``."""
        return self._under("__call__", prepared)

    def sample(self, prepared: Tensor, n: int) -> tuple[Tensor | Tokens, Tensor]:
        """The inner part's, under ``start + B z``."""
        return self._under("sample", prepared, n)

    def picture(self) -> Tensor | None:
        """The inner part's, under ``start + B z``."""
        return self._under("picture")

    def observe(self, prepared: Any, output: Tensor) -> None:
        """Tell the inner part."""
        self.inner.observe(prepared, output)

    def memory(self) -> dict[str, Tensor]:
        """The inner part's."""
        return self.inner.memory()

    def advance(self, step: int, steps: int) -> None:
        """Advance the inner part."""
        self.inner.advance(step, steps)

    def tally(self, x: Tensor) -> dict[str, int]:
        """The inner part's."""
        return self.inner.tally(x)

    def folded(self) -> Transformation:
        """The inner part's, under ``start + B z``."""
        return self._under("folded")

    def after(self, task: TaskSpec) -> TaskSpec:
        """The task as the inner part leaves it."""
        return self.inner.after(task)

    def _under(self, method: str, *arguments: Any) -> Any:
        """A method of the inner part under the present parameters."""
        moves = synthesis(self.z, self.place).split(list(map(math.prod, self.shapes.values())))
        parameters = {
            f"inner.{name}": self.inner.get_buffer(name) + move.reshape(shape)
            for (name, shape), move in zip(self.shapes.items(), moves, strict=True)
        }
        return torch.func.functional_call(_Calling(self.inner), parameters, (method, *arguments))

    def extra_repr(self) -> str:
        return f"size={self.size}, seed={self.seed}"


class _Calling(nn.Module):
    """Any method of a part, where ``functional_call`` calls but one."""

    def __init__(self, inner: Transformation) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, method: str, *arguments: Any) -> Any:
        return getattr(self.inner, method)(*arguments)
