"""CMA-ES, by the package ``cma``."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reprogram.optim.base import MakeOptimizer, Objective, assign, flatten, means
from reprogram.types import UserError


class CMAES:
    """Covariance matrix adaptation on the transformation's parameters; no gradient is estimated.

    A trainable mapping learns beside it by its exact gradient on the outputs seen.

    Warning:
        The covariance has D^2 entries: for programs of more than some hundred parameters give
        ``diagonal=True`` (separable CMA-ES).

    References:
        | The CMA Evolution Strategy: A Tutorial (Hansen, 2016). https://arxiv.org/abs/1604.00772

    Arguments:
        sigma: Initial standard deviation, in units of the parameters, > 0.
        population: Samples in a generation, >= 2; ``None`` for ``4 + floor(3 log D)``.
        diagonal: Whether only variances are adapted.
        mapping_optimizer: Makes the torch optimiser of a trainable mapping.
        seed: Of the samples.

    Example:
        >>> CMAES(population=8).evaluations
        8
    """

    gradient = False
    calibration = 0

    def __init__(
        self,
        *,
        sigma: float = 0.1,
        population: int | None = None,
        diagonal: bool = False,
        mapping_optimizer: MakeOptimizer = torch.optim.Adam,
        seed: int = 0,
    ) -> None:
        if sigma <= 0:
            raise UserError(f"argument 'sigma' is {sigma}; give a positive standard deviation")
        if population is not None and population < 2:
            raise UserError(f"argument 'population' is {population}; give 2 or more")
        self.sigma, self.population, self.diagonal = sigma, population, diagonal
        self.mapping_optimizer, self.seed = mapping_optimizer, seed
        self.evaluations = population or 0  # known once bound

    def bind(self, transformation: nn.Module, mapping: nn.Module, steps: int) -> None:
        """Start the strategy at the present parameters."""
        del steps
        try:
            import cma
        except ImportError:
            raise UserError(
                "CMAES needs the package cma: pip install 'reprogram[blackbox]'"
            ) from None
        self.parameters = [p for p in transformation.parameters() if p.requires_grad]
        start = flatten(self.parameters) if self.parameters else torch.zeros(0)
        if len(start) < 2:
            raise UserError(
                f"CMAES needs at least 2 parameters; the transformation has {len(start)}"
            )
        population = self.population or 4 + int(3 * np.log(len(start)))
        rng = np.random.default_rng(self.seed)
        self.strategy = cma.CMAEvolutionStrategy(
            start.cpu().double().numpy(),
            self.sigma,
            {
                "popsize": population,
                "CMA_diagonal": self.diagonal,
                "randn": lambda *shape: rng.standard_normal(shape),
                "seed": np.nan,  # the generator above is the only source of randomness
                "verbose": -9,
            },
        )
        self.evaluations = population
        self.told: list[list[float]] = []
        behind = [p for p in mapping.parameters() if p.requires_grad]
        self.behind = self.mapping_optimizer(behind) if behind else None

    def step(self, objective: Objective) -> Tensor:
        """One generation, in one source call; the parameters become the new mean."""
        asked = self.strategy.ask()
        population = torch.tensor(np.stack(asked)).to(self.parameters[0])  # (P, D)
        if self.behind is not None:
            self.behind.zero_grad(set_to_none=True)
        losses = objective(population)  # (P, batch)
        fitness = means(losses)
        if self.behind is not None and losses.isfinite().all():
            losses.mean().backward()
            self.behind.step()
        self.strategy.tell(asked, fitness.tolist())
        self.told.append(fitness.tolist())
        self._write_mean()
        return fitness.mean()

    def state_dict(self) -> dict[str, Any]:
        """What the strategy was told: it repeats itself from that without a query."""
        return {"told": self.told, "behind": self.behind and self.behind.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replay the generations on a freshly bound strategy."""
        for fitness in state["told"]:
            self.strategy.tell(self.strategy.ask(), fitness)
            self.told.append(fitness)
        if self.told:
            self._write_mean()
        if self.behind is not None:
            self.behind.load_state_dict(state["behind"])

    def _write_mean(self) -> None:
        assign(self.parameters, torch.tensor(self.strategy.mean).to(self.parameters[0]))
