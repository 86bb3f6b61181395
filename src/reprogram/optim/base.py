"""The two seams of optimisation: a step on an objective, and an estimate of its gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from reprogram.types import UserError


@runtime_checkable
class Objective(Protocol):
    """The losses of one batch as a function of the transformation's parameters, pure in a step.

    Called with ``None`` it returns losses (batch,) with a graph through source and transformation;
    called with parameters (P, D) it returns (P, batch), all from ONE source call, with a graph that
    reaches the mapping only: the mapping stands behind the source, so its gradient on the observed
    outputs is exact and costs no query. With ``observe=False`` a call leaves no trace: the mapping
    gathers nothing from it.

    ``sample(n)`` draws a discrete program n times, in one source call: losses (n, batch) with a
    graph to the mapping, and log-probabilities (n, batch) with one to the transformation.
    """

    def __call__(self, parameters: Tensor | None = None, *, observe: bool = True) -> Tensor: ...

    def sample(self, n: int) -> tuple[Tensor, Tensor]: ...


@runtime_checkable
class Optimizer(Protocol):
    """One step of the trainable parts.

    Attributes:
        gradient: Whether the source must let a gradient pass.
        evaluations: Source forwards for each sample and step; known once bound.
        calibration: Those that the first step takes besides.
    """

    gradient: bool
    evaluations: int
    calibration: int

    def bind(self, transformation: nn.Module, mapping: nn.Module, steps: int) -> None:
        """Take hold of the parameters, for a run of ``steps``."""
        ...

    def step(self, objective: Objective) -> Tensor:
        """Improve the parameters in place; the mean loss before, a scalar."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs: tensors, numbers, strings, lists and dictionaries."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`, after :meth:`bind`."""
        ...


MakeOptimizer = Callable[[Iterable[Any]], torch.optim.Optimizer]
MakeScheduler = Callable[[torch.optim.Optimizer, int], LRScheduler]


class GradientStep:
    """An estimate written into ``.grad``; any torch optimiser and scheduler do the rest.

    Subclasses write one method, :meth:`estimate`.

    Arguments:
        optimizer: Makes the torch optimiser from its parameters, such as
            ``partial(torch.optim.Adam, lr=0.05)``; one that takes a step from one evaluation.
        scheduler: Makes the torch scheduler from the optimiser and the number of steps, such as
            ``torch.optim.lr_scheduler.CosineAnnealingLR``; stepped after every step.
        mapping_lr: Learning rate of the mapping where it is another one.
    """

    gradient = True
    evaluations = 1
    calibration = 0

    def __init__(
        self,
        optimizer: MakeOptimizer = torch.optim.Adam,
        *,
        scheduler: MakeScheduler | None = None,
        mapping_lr: float | None = None,
    ) -> None:
        self.optimizer, self.scheduler, self.mapping_lr = optimizer, scheduler, mapping_lr

    def bind(self, transformation: nn.Module, mapping: nn.Module, steps: int) -> None:
        """Create the torch optimiser over both parts' parameters.

        Raises:
            UserError: if there are none, or the optimiser would evaluate the loss by itself.
        """
        if getattr(self.optimizer, "func", self.optimizer) is torch.optim.LBFGS:
            raise UserError("LBFGS evaluates the loss several times a step; use Adam or SGD")
        self.parameters = [p for p in transformation.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [{"params": self.parameters}] if self.parameters else []
        behind = [p for p in mapping.parameters() if p.requires_grad]
        if behind:
            lr = {} if self.mapping_lr is None else {"lr": self.mapping_lr}
            groups.append({"params": behind, **lr})
        if not groups:
            raise UserError("nothing to train: transformation and mapping have no parameters")
        self.torch_optimizer = self.optimizer(groups)
        self.torch_scheduler = self.scheduler and self.scheduler(self.torch_optimizer, steps)

    def estimate(self, objective: Objective) -> Tensor:
        """Write ``.grad`` of every parameter; the mean loss, a scalar."""
        raise NotImplementedError

    def write(self, g: Tensor) -> None:
        """A vector (D,) as the ``.grad`` of the transformation's parameters."""
        for parameter, part in zip(self.parameters, unflatten(g, self.parameters), strict=True):
            parameter.grad = part.to(parameter.dtype)

    def step(self, objective: Objective) -> Tensor:
        """Estimate, then one step of the torch optimiser and its scheduler."""
        self.torch_optimizer.zero_grad(set_to_none=True)
        loss = self.estimate(objective)
        self.torch_optimizer.step()
        if self.torch_scheduler is not None:
            self.torch_scheduler.step()
        return loss.detach()

    def state_dict(self) -> dict[str, Any]:
        """State of the torch optimiser and scheduler."""
        scheduler = self.torch_scheduler
        return {
            "optimizer": self.torch_optimizer.state_dict(),
            # A schedule given as a function is made anew by bind.
            "scheduler": scheduler
            and {k: v for k, v in scheduler.state_dict().items() if k != "lr_lambdas"},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put the state back."""
        self.torch_optimizer.load_state_dict(state["optimizer"])
        if self.torch_scheduler is not None:
            # torch's LambdaLR wants the key that cannot be saved.
            kept = {k: v for k, v in self.torch_scheduler.state_dict().items() if k == "lr_lambdas"}
            self.torch_scheduler.load_state_dict({**state["scheduler"], **kept})


def flatten(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters as one vector (D,)."""
    return torch.cat([p.detach().reshape(-1) for p in parameters])


def unflatten(vector: Tensor, like: Iterable[Tensor]) -> list[Tensor]:
    """A vector (D,) as tensors of the given shapes.

    Example:
        >>> [t.shape for t in unflatten(torch.zeros(5), [torch.zeros(2), torch.zeros(1, 3)])]
        [torch.Size([2]), torch.Size([1, 3])]
    """
    like = list(like)
    parts = vector.split([p.numel() for p in like])
    return [part.reshape(p.shape) for part, p in zip(parts, like, strict=True)]


def assign(parameters: Iterable[Tensor], vector: Tensor) -> None:
    """Write a vector (D,) into the parameters."""
    parameters = list(parameters)
    with torch.no_grad():
        for parameter, part in zip(parameters, unflatten(vector, parameters), strict=True):
            parameter.copy_(part)


def means(losses: Tensor) -> Tensor:
    """Mean losses (P,) of losses (P, batch), in float64; one that is not finite is very bad.

    Such a mean becomes worse than the worst by as much as the others differ, or by its own size
    where they do not; if none is finite they stay as they are.

    Example:
        >>> means(torch.tensor([[1.0, 3.0], [torch.nan, 1.0], [4.0, 4.0]]))
        tensor([2., 6., 4.], dtype=torch.float64)
    """
    mean = losses.detach().cpu().double().mean(1)  # not every device has float64
    good = mean[mean.isfinite()]
    if len(good) in (0, len(mean)):
        return mean
    worst, spread = good.max(), good.max() - good.min()
    return mean.where(mean.isfinite(), worst + (spread if spread > 0 else worst.abs()))
