"""Adversarial cells among the frozen ones."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from reprogram.transformations.automata.base import Intervention, Steps
from reprogram.transformations.automata.start import rule_of
from reprogram.types import Intervene, Rule, SourceLike, TaskSpec, UserError


class Inject(Intervention):
    """A few cells that follow a rule of their own, among many that keep the frozen one.

    ``x <- rule(x) (1 - m) + adversary(x) m`` at every step, where each cell is an adversary
    (``m = 1``) with probability ``share``, drawn once for a run. The adversary has the
    architecture of the source's rule; its weights are the program. In a growing automaton
    adversaries stand only where the untouched automaton has its picture.

    Valid at the door ``state``, for images (written into a state's first channel) or for the
    starts of a growing automaton (0, a seed; 1, grown).

    References:
        | Adversarial reprogramming of neural cellular automata (Randazzo, Mordvintsev, Niklasson,
          Levin, 2021), Distill, doi:10.23915/distill.00027.004

    Arguments:
        share: Of the cells that are adversaries, in (0, 1].
        steps: As for :class:`~reprogram.transformations.automata.Intervention`, with all below it.
        evaluation: Steps in evaluation; ``None`` for the source's own.
        pool: States that are kept while training.
        fresh: Share of samples that begin anew.
        mutated: Share of the others that go on from any sample's state.
        damaged: Share of those that go on that lose a circle.
        grown: Steps that a growing automaton takes before.
        seed: Of the adversary's first weights.

    Raises:
        UserError: if a number is out of its range, or (in ``bind``) the source is no automaton or
            the task does not fit it.

    Example:
        >>> Inject(share=0.05, steps=[10, 20])
        Inject(share=0.05, steps=[10, 20], pool=160)
    """

    adversary: nn.Module

    def __init__(
        self,
        *,
        share: float = 0.1,
        steps: Steps = 20,
        evaluation: int | None = None,
        pool: int = 160,
        fresh: float = 0.25,
        mutated: float = 1.0,
        damaged: float = 0.0,
        grown: int = 200,
        seed: int = 0,
    ) -> None:
        if not 0 < share <= 1:
            raise UserError(f"argument 'share' is {share}; give the adversaries' share in (0, 1]")
        super().__init__(
            steps=steps, evaluation=evaluation, pool=pool, fresh=fresh, mutated=mutated,
            damaged=damaged, grown=grown,
        )  # fmt: skip
        self.share, self.seed = share, seed

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Make an adversary that knows nothing yet."""
        super().bind(source, task)
        self.adversary = rule_of(self, source).fresh(torch.Generator().manual_seed(self.seed))

    @torch.no_grad()
    def put(self, weights: Mapping[str, Tensor]) -> None:
        """Make these the adversary's weights.

        Raises:
            UserError: if one is missing, unknown, or of another shape.
        """
        own = self.adversary.state_dict()
        for name in sorted(own.keys() | weights.keys()):
            given, wanted = (
                tuple(told[name].shape) if name in told else "none" for told in (weights, own)
            )
            if given != wanted:
                raise UserError(f"argument 'weights' has {name!r} of shape {given}; the adversary "
                                f"has {wanted}")  # fmt: skip
        self.adversary.load_state_dict(dict(weights))

    def mask(self, state: Float[Tensor, "batch c h w"]) -> Bool[Tensor, "batch 1 h w"]:
        """Which cells are adversaries."""
        drawn = torch.rand(state[:, :1].shape) < self.share  # on the CPU: alike on every device
        return drawn.to(state.device) & self.start.room(state)

    def intervention(self) -> Intervene:
        """The adversary in its own cells, the rule in the others."""
        # Taken now: by the time of a step a population's weights have given way to others.
        weights = {
            **dict(self.adversary.named_parameters()),
            **dict(self.adversary.named_buffers()),
        }

        def intervene(rule: Rule, state: Tensor, mask: Tensor | None) -> Tensor:
            if mask is None:
                return rule(state)
            own = torch.func.functional_call(self.adversary, weights, (state, mask))
            return torch.where(mask, own, rule(state))

        return intervene

    def extra_repr(self) -> str:
        return f"share={self.share}, {super().extra_repr()}"
