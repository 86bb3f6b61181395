"""What estimates of a gradient from losses alone have in common."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reprogram.optim.base import (
    GradientStep,
    MakeOptimizer,
    MakeScheduler,
    Objective,
    assign,
    flatten,
    means,
)
from reprogram.optim.calibration import PROBES, RUNGS, choose, ladder
from reprogram.optim.guards import Divergence, Floor, Gain, resolution
from reprogram.types import UserError

Vector = Float[Tensor, " parameters"]
Directions = Float[Tensor, "directions parameters"]


class ZerothOrder(GradientStep):
    """Differences of the loss along random directions, weighed and averaged.

    ``g = 1/q sum_i (f(w + c d_i) - f(w - c d_i)) / (2 c) * d_i`` with ``E[d d'] = 1``. All
    evaluations of a step are one source call; differences are taken in float64, whatever the source
    computes in. Only the transformation is perturbed: a mapping learns by its exact gradient on
    the outputs seen.

    Three guards stand by, each warning once: without ``c`` it is calibrated in the first step (see
    :func:`~reprogram.optim.calibration.choose`); where the loss rises far above the first ones
    steps are halved; where evaluations differ by the rounding of the scores alone ``c`` is doubled.

    Arguments:
        optimizer: See :class:`~reprogram.optim.GradientStep`.
        c: Size of the perturbation, in units of the parameters, > 0; calibrated if absent.
        gamma: Its decay, ``c_k = c / (k + 1)^gamma``; 0 for none.
        directions: Averaged in a step, >= 1.
        orthogonal: Whether the directions of a step are orthogonal, in blocks of as many as there
            are parameters: of less variance, and no less unbiased.
        calibrate: Whether estimates are divided by the root mean square of the first ten, so that
            a learning rate is in units of the parameters. It changes nothing for Adam, but the
            share of a weight decay.
        scheduler: See :class:`~reprogram.optim.GradientStep`.
        mapping_lr: See :class:`~reprogram.optim.GradientStep`.
        seed: Of the directions.

    Raises:
        UserError: if a number is out of its range.
    """

    gradient = False

    def __init__(
        self,
        optimizer: MakeOptimizer = torch.optim.Adam,
        *,
        c: float | None = None,
        gamma: float = 0.0,
        directions: int = 1,
        orthogonal: bool = False,
        calibrate: bool = True,
        scheduler: MakeScheduler | None = None,
        mapping_lr: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(optimizer, scheduler=scheduler, mapping_lr=mapping_lr)
        if c is not None and not 0 < c < math.inf:
            raise UserError(f"argument 'c' is {c}; give a positive size of the perturbation")
        if not 0 <= gamma < math.inf:
            raise UserError(f"argument 'gamma' is {gamma}; give 0 or more")
        if directions < 1:
            raise UserError(f"argument 'directions' is {directions}; give 1 or more")
        self.c, self.gamma, self.directions, self.seed = c, gamma, directions, seed
        self.orthogonal, self.calibrate = orthogonal, calibrate
        self.evaluations = self._cost(directions)
        self.calibration = 0 if c is not None else self._cost(RUNGS * PROBES)

    def bind(self, transformation: nn.Module, mapping: nn.Module, steps: int) -> None:
        """Start counting steps at 0."""
        super().bind(transformation, mapping, steps)
        if not self.parameters:
            name = type(self).__name__
            raise UserError(f"{name} perturbs the transformation, and this one has no parameters")
        self.count, self.size, self.most = 0, 0.0, 1.0
        self.gain, self.divergence, self.floor = Gain(), Divergence(), Floor()

    def draw(self, n: int, d: int, generator: torch.Generator) -> Directions:
        """Independent directions (n, d) of ``E[d d'] = 1``."""
        raise NotImplementedError

    def weigh(self, directions: Directions) -> Directions:
        """What slopes along the directions are multiplied by."""
        return directions

    def utilities(self, losses: Float[Tensor, " evaluations"]) -> Float[Tensor, " evaluations"]:
        """What differences are taken of."""
        return losses

    def step(self, objective: Objective) -> Tensor:
        """Estimate, then one step of the torch optimiser, shortened where the loss has risen."""
        before = flatten(self.parameters)
        loss = super().step(objective)
        if self.divergence.factor < 1:
            now = flatten(self.parameters)
            assign(self.parameters, before.lerp(now, self.divergence.factor))
        return loss

    def estimate(self, objective: Objective) -> Tensor:
        """All evaluations in one source call; before the first, a call that calibrates."""
        w = flatten(self.parameters)
        if self.count == 0:
            self._begin(objective, w)
        delta = self._directions(self.directions, w, self.count)
        size = self.floor.factor * self.size / (self.count + 1) ** self.gamma
        self.count += 1
        losses = objective(self._around(w, size * delta))  # (evaluations, batch)
        if losses.requires_grad and losses.isfinite().all():
            losses.mean().backward()  # the mapping's exact gradient, on the outputs seen
        mean, told = means(losses), losses.detach().cpu()
        self.floor.see(told, self.most)
        self.divergence.see(told)
        slopes = (self._differences(self.utilities(mean)) / size).to(w)
        g = slopes @ self.weigh(delta) / self.directions
        self.write(self.gain(g) if self.calibrate else g)
        return mean.mean()

    def state_dict(self) -> dict[str, Any]:
        """The torch optimiser's state, the number of steps, and what was learned of the loss."""
        guards = {"gain": self.gain, "divergence": self.divergence, "floor": self.floor}
        return {
            **super().state_dict(),
            "count": self.count,
            "size": self.size,
            "most": self.most,
            **{name: asdict(guard) for name, guard in guards.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put the state back."""
        super().load_state_dict(state)
        self.count, self.size, self.most = state["count"], state["size"], state["most"]
        self.gain = Gain(**state["gain"])
        self.divergence, self.floor = Divergence(**state["divergence"]), Floor(**state["floor"])

    def _begin(self, objective: Objective, w: Vector) -> None:
        """Find the size, where it is not given, without a trace in the mapping."""
        sizes = ladder(w)
        if self.c is None:
            delta = self._directions(PROBES, w, -1)
            steps = (sizes.to(w)[:, None, None] * delta).flatten(0, 1)
            with torch.no_grad():
                losses = objective(self._around(w, steps), observe=False).cpu()
            seen = self._differences(losses.double())[:, losses.any(0)]  # those with a label
            rung = choose(sizes, seen.reshape(RUNGS, PROBES, -1), resolution(losses))
            self.size = float(sizes[rung])
        else:
            self.size = self._in_coordinates(self.c, len(w))
        self.most = max(1.0, float(sizes[-1]) / self.size)

    def _directions(self, n: int, w: Vector, count: int) -> Directions:
        """Of the step of that number, on the parameters' device."""
        generator = torch.Generator().manual_seed(hash((self.seed, count)) % 2**63)
        draw = orthogonal if self.orthogonal else self.draw
        return draw(n, len(w), generator).to(w)

    def _cost(self, n: int) -> int:
        """Evaluations for so many directions."""
        return 2 * n

    def _around(self, w: Vector, steps: Directions) -> Float[Tensor, "evaluations parameters"]:
        """Where the loss is evaluated."""
        return torch.cat([w + steps, w - steps])

    def _differences(self, losses: Tensor) -> Tensor:
        """Of evaluations (evaluations, ...): what a step along each direction adds."""
        plus, minus = losses.chunk(2)
        return (plus - minus) / 2

    def _in_coordinates(self, c: float, d: int) -> float:
        """The perturbation's size in each of d coordinates."""
        del d
        return c


def orthogonal(n: int, d: int, generator: torch.Generator) -> Directions:
    """Random directions of length ``sqrt(d)``, orthogonal in blocks of d.

    Example:
        >>> block = orthogonal(3, 8, torch.Generator().manual_seed(0))
        >>> torch.allclose(block @ block.T, 8 * torch.eye(3), atol=1e-5)
        True
    """
    blocks = []
    for start in range(0, n, d):
        normal = torch.randn(d, min(d, n - start), generator=generator)
        q, r = torch.linalg.qr(normal)
        blocks.append((q * r.diagonal().sign()).T)  # of either sign, as the normal ones were
    return math.sqrt(d) * torch.cat(blocks)
