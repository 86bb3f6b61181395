"""What keeps a run on data that nobody has seen from going wrong in silence."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from statistics import fmean, pstdev

import torch
from jaxtyping import Float
from torch import Tensor

WINDOW = 10
ENOUGH = 16  # samples that say where a run began


@dataclass
class Gain:
    """Divides estimates by their root mean square over the first ten, and by that ever after.

    A learning rate is then in units of the parameters, whatever the loss is measured in.

    Example:
        >>> import torch
        >>> gain = Gain()
        >>> gain(torch.tensor([3.0, -3.0]))
        tensor([ 1., -1.])
    """

    squares: list[float] = field(default_factory=list)

    def __call__(self, g: Float[Tensor, " parameters"]) -> Float[Tensor, " parameters"]:
        """The estimate in units of the first ones; those that are zero tell nothing of the size."""
        if len(self.squares) < WINDOW and (square := float(g.cpu().double().square().mean())):
            self.squares.append(square)
        return g / math.sqrt(fmean(self.squares)) if self.squares else g


@dataclass
class Divergence:
    """Halves the steps when the mean of ten losses stands clearly above the first, and rises.

    The first are those of the first step, or of as many as it takes to have seen some samples:
    what goes wrong may go wrong at once.

    Attributes:
        factor: Of every step.
    """

    first: list[float] = field(default_factory=list)  # of samples
    recent: list[float] = field(default_factory=list)  # of steps
    factor: float = 1.0

    def see(self, losses: Float[Tensor, "evaluations batch"]) -> None:
        """One step's losses; evaluations that are not finite have no say."""
        samples = losses[losses.isfinite().all(1)].double()
        if not len(samples):
            return
        if len(self.first) < ENOUGH:
            self.first = [*self.first, *samples.mean(0).tolist()]
            return
        self.recent = [*self.recent, float(samples.mean())][-WINDOW:]
        begun = fmean(self.first)
        error = pstdev(self.first) / math.sqrt(len(self.first))
        limit, half = begun + 0.5 * abs(begun) + 3 * error, WINDOW // 2
        if (
            len(self.recent) == WINDOW
            and fmean(self.recent) > limit
            and fmean(self.recent[half:]) > fmean(self.recent[:half])
        ):
            if self.factor == 1:
                warnings.warn(
                    f"the loss has risen from {begun:.3g} to {fmean(self.recent):.3g}: steps are "
                    "halved; give a smaller learning rate or more directions",
                    stacklevel=2,
                )
            self.factor /= 2
            self.recent = []


@dataclass
class Floor:
    """Doubles a perturbation when most of ten evaluations differ by no more than rounding.

    The losses of single samples are looked at, not their mean: at a minimum that stands still,
    and what the samples want of it differs.

    Attributes:
        factor: Of the perturbation, 1 or more.
    """

    vanished: list[bool] = field(default_factory=list)
    factor: float = 1.0

    def see(self, losses: Float[Tensor, "evaluations batch"], most: float) -> None:
        """One step's losses; ``most`` is the largest factor."""
        apart = (losses.double() - losses.double().mean(0)).square().mean(1).sqrt()
        lost = (apart <= 4 * resolution(losses)).tolist()
        self.vanished = [*self.vanished, *lost][-max(WINDOW, len(lost)) :]
        if len(self.vanished) < WINDOW or fmean(self.vanished) <= 0.5 or self.factor >= most:
            return
        if self.factor == 1:
            warnings.warn(
                "most differences vanish in the rounding of the scores: the perturbation is "
                "doubled until they show; give a larger 'c' or none",
                stacklevel=2,
            )
        self.factor = min(2 * self.factor, most)
        self.vanished = []


def resolution(losses: Float[Tensor, "evaluations batch"]) -> float:
    """What of a difference of losses may be rounding, in the precision that they come in."""
    good = losses.detach()[losses.isfinite()].double()
    return torch.finfo(losses.dtype).eps * float(good.abs().mean())
