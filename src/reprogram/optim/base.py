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
    outputs is exact and costs no query.
    """

    def __call__(self, parameters: Tensor | None = None) -> Tensor: ...


@runtime_checkable
class Optimizer(Protocol):
    """One step of the trainable parts.

    Attributes:
        gradient: Whether the source must let a gradient pass.
        evaluations: Source forwards for each sample and step; known once bound.
    """

    gradient: bool
    evaluations: int

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
