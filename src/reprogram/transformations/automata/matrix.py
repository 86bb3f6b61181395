"""A symmetric matrix on the state of every cell."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reprogram.transformations.automata.base import Intervention, Steps
from reprogram.transformations.automata.start import rule_of
from reprogram.types import Intervene, Rule, SourceLike, TaskSpec, UserError

BOUND = 3.0  # of every channel, behind the matrix
Matrix = Float[Tensor, "channels channels"]


class StateMatrix(Intervention):
    """Every living cell's state times one symmetric matrix, before every step of the frozen rule.

    ``x <- clip(x A, -3, 3) living(x)``, then the rule; ``A`` starts at the identity, and its upper
    triangle is the program: 136 numbers for 16 channels. Channels that hold the sample itself (a
    digit's grey) stay as they are.

    Valid where :class:`Inject` is.

    References:
        | Adversarial reprogramming of neural cellular automata (Randazzo, Mordvintsev, Niklasson,
          Levin, 2021), Distill, doi:10.23915/distill.00027.004

    Arguments:
        steps: As for :class:`~reprogram.transformations.automata.Intervention`, with all below it.
        evaluation: Steps in evaluation; ``None`` for the source's own.
        pool: States that are kept while training.
        fresh: Share of samples that begin anew.
        mutated: Share of the others that go on from any sample's state.
        damaged: Share of those that go on that lose a circle.
        grown: Steps that a growing automaton takes before.

    Raises:
        UserError: if a number is out of its range, or (in ``bind``) the source is no automaton or
            the task does not fit it.

    Example:
        >>> StateMatrix(pool=32)
        StateMatrix(steps=[64, 96], pool=32)
    """

    upper: Float[Tensor, " numbers"]

    def __init__(
        self,
        *,
        steps: Steps = (64, 96),
        evaluation: int | None = None,
        pool: int = 64,
        fresh: float = 0.25,
        mutated: float = 0.0,
        damaged: float = 0.5,
        grown: int = 200,
    ) -> None:
        super().__init__(
            steps=steps, evaluation=evaluation, pool=pool, fresh=fresh, mutated=mutated,
            damaged=damaged, grown=grown,
        )  # fmt: skip

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Make the matrix: the identity."""
        super().bind(source, task)
        self._living = (rule_of(self, source).living,)  # the source's, and no part of the program
        self.channels = self.start.shape[0]
        self.upper = nn.Parameter(_upper(torch.eye(self.channels)))

    def matrix(self) -> Matrix:
        """``A``."""
        places = torch.triu_indices(self.channels, self.channels, device=self.upper.device)
        zeros = self.upper.new_zeros(self.channels, self.channels)
        upper = zeros.index_put(tuple(places), self.upper)
        return upper + upper.triu(1).T

    @torch.no_grad()
    def put(self, matrix: Matrix) -> None:
        """Make that matrix the program.

        Raises:
            UserError: if it is not symmetric, or has another size.
        """
        wanted = (self.channels, self.channels)
        if tuple(matrix.shape) != wanted:
            raise UserError(f"argument 'matrix' has shape {tuple(matrix.shape)}; the state has "
                            f"{self.channels} channels: give {wanted}")  # fmt: skip
        if not torch.allclose(matrix, matrix.T, atol=1e-6):
            far = float((matrix - matrix.T).abs().max())
            raise UserError(f"argument 'matrix' is not symmetric: two halves differ by {far:.2g}; "
                            "give (matrix + matrix.T) / 2")  # fmt: skip
        self.upper.copy_(_upper(matrix))

    def intervention(self) -> Intervene:
        """The matrix, then the rule."""
        matrix, (living,), held = self.matrix(), self._living, self.start.held

        def intervene(rule: Rule, state: Tensor, mask: Tensor | None) -> Tensor:
            del mask
            rows = state.permute(0, 2, 3, 1)  # (batch, height, width, channels)
            flat = rows.reshape(-1, state.shape[1])
            places = living(state).flatten().nonzero()[:, 0]  # most cells of a grid are dead
            pushed = (flat.index_select(0, places) @ matrix).clamp(-BOUND, BOUND)
            flat = torch.zeros_like(flat).index_copy_(0, places, pushed)
            return rule(held(flat.reshape(rows.shape).permute(0, 3, 1, 2), state))

        return intervene

    def picture(self) -> Tensor:
        """The matrix (1, channels, channels)."""
        return self.matrix().detach()[None]


def _upper(matrix: Matrix) -> Float[Tensor, " numbers"]:
    """The upper triangle, row by row."""
    return matrix[tuple(torch.triu_indices(len(matrix), len(matrix)))]


def scaled(matrix: Matrix, k: float) -> Matrix:
    """The same push, k times as strong: ``A_k = k A + (1 - k) I``.

    Example:
        >>> scaled(torch.tensor([[3.0, 1.0], [1.0, 1.0]]), 0.5)
        tensor([[2.0000, 0.5000],
                [0.5000, 1.0000]])
    """
    return k * matrix + (1 - k) * torch.eye(len(matrix)).to(matrix)


def combined(first: Matrix, second: Matrix, *, k: float = 1.0, second_k: float = 1.0) -> Matrix:
    """Both pushes at once: ``k_A A + k_B B + (1 - k_A - k_B) I``.

    Of first order: the product of what both differ from ``I`` is left out.

    Example:
        >>> matrix = torch.tensor([[3.0, 1.0], [1.0, 1.0]])
        >>> torch.equal(combined(matrix, torch.eye(2)), matrix)
        True
    """
    return scaled(first, k) + scaled(second, second_k) - torch.eye(len(first)).to(first)
