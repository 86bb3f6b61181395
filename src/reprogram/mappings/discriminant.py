"""A linear map in closed form: the Gaussian discriminant of the source's outputs."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from reprogram.mappings.base import Mapping, OnePass, count_classes
from reprogram.types import SourceLike, TaskSpec, UserError


class Moments(nn.Module):
    """Streaming sums of outputs in double precision: O(S (S + T)) numbers, whatever the data.

    Arguments:
        classes: Source classes.
        targets: Target classes.
    """

    number: Float[Tensor, " targets"]
    total: Float[Tensor, "targets classes"]
    square: Float[Tensor, "classes classes"]

    def __init__(self, classes: int, targets: int) -> None:
        super().__init__()
        shapes = {"number": (targets,), "total": (targets, classes), "square": (classes, classes)}
        for name, shape in shapes.items():
            sums = torch.zeros(shape, dtype=torch.float64)
            self.register_buffer(name, sums, persistent=False)

    def add(
        self,
        output: Float[Tensor, "batch classes"],
        target: Int[Tensor, " batch"],
        weight: Float[Tensor, " batch"],
    ) -> None:
        """Count a batch."""
        z, w = centred(output.double()), weight.double()[:, None]
        self.number.index_add_(0, target, w[:, 0])
        self.total.index_add_(0, target, w * z)
        self.square += (w * z).T @ z

    def fade(self, by: float) -> None:
        """Multiply every sum, so that what was added long ago is forgotten."""
        for sums in self.buffers():
            sums.mul_(by)

    def solve(self) -> tuple[Float[Tensor, "targets classes"], Float[Tensor, " targets"]]:
        """The discriminant's weights and bias."""
        return discriminant(self.number, self.total, self.square)

    def covariance(self) -> tuple[Float[Tensor, " classes"], Float[Tensor, "classes classes"]]:
        """Mean and shrunk covariance of all outputs."""
        n = self.number.sum().clamp_min(1)
        mean = self.total.sum(0) / n
        return mean, shrunk(self.square / n - mean[:, None] * mean, float(n))


class Discriminant(Mapping):
    """``log P(t | z)`` under Gaussian classes with one covariance, refitted while training.

    Nothing in it is trained, so it asks for no learning rate and no gradient, and it reads every
    source class at once. Its statistics come from one initial pass, then from the training steps'
    own outputs, older ones fading; they hold ``S (S + T)`` numbers.

    References:
        | The use of multiple measurements in taxonomic problems (Fisher, 1936).
        | Shrinkage Algorithms for MMSE Covariance Estimation (Chen, Wiesel, Eldar, Hero, 2010),
          eq. 23. https://arxiv.org/abs/0907.4698

    Arguments:
        memory: Of how many samples, as a share of the training split: what lies further back counts
            less than 1/e. The map follows a program that changes fast, or averages more.
        every: Steps between two refits, >= 1.

    Example:
        >>> from reprogram.sources import CallableSource
        >>> from reprogram.types import InputSpec, OutputSpec, TaskSpec
        >>> source = CallableSource(len, InputSpec("table", (2,)), OutputSpec("classes", (3,)))
        >>> mapping = Discriminant()
        >>> mapping.bind(source, TaskSpec("toy", InputSpec("table", (2,)), ("a", "b")))
        >>> target = torch.tensor([0, 1]).repeat(50)
        >>> output = torch.eye(3)[target] + 0.1 * torch.randn(100, 3)
        >>> mapping.begin_epoch(0, lambda: [(output, target, torch.ones(100))])
        >>> bool((mapping(output).argmax(1) == target).all())
        True
    """

    weight: Float[Tensor, "targets classes"]
    bias: Float[Tensor, " targets"]

    def __init__(self, *, memory: float = 0.5, every: int = 10) -> None:
        super().__init__()
        if not memory > 0:
            raise UserError(f"argument 'memory' is {memory}; give a positive share")
        if every < 1:
            raise UserError(f"argument 'every' is {every}; give 1 or more steps")
        self.memory, self.every = memory, every

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Lay the map out; until outputs are met, every target class is as likely."""
        classes, targets = count_classes(self, source, task)
        self.register_buffer("weight", torch.zeros(targets, classes))
        self.register_buffer("bias", torch.zeros(targets))
        self.moments = Moments(classes, targets)
        self.samples = self.memory * sum(task.counts) or math.inf  # a task that tells no counts

    def observe(
        self,
        output: Float[Tensor, "batch classes"],
        target: Int[Tensor, " batch"],
        weight: Float[Tensor, " batch"],
    ) -> None:
        """Add a training batch to the moments."""
        self.moments.fade(math.exp(-float(weight.sum()) / self.samples))
        self.moments.add(output, target, weight)

    def passes(self, epochs: int) -> int:
        """One, for the first map."""
        return min(epochs, 1)

    def begin_epoch(self, epoch: int, one_pass: OnePass) -> None:
        """Solve for the first map by one pass, before the first epoch alone."""
        if epoch == 0:
            for batch in one_pass():
                self.moments.add(*batch)
            self.refit()

    def advance(self, step: int, steps: int) -> None:
        """Solve anew, every so many steps."""
        del steps
        if (step + 1) % self.every == 0:
            self.refit()

    def refit(self) -> None:
        """The map of what is remembered."""
        weight, bias = self.moments.solve()
        self.weight, self.bias = weight.to(self.weight.dtype), bias.to(self.bias.dtype)

    def forward(self, output: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch targets"]:
        """The log posterior, up to a constant."""
        return F.linear(centred(output).to(self.weight.dtype), self.weight, self.bias)

    def table(self) -> Float[Tensor, "classes targets"]:
        """The weights."""
        return self.weight.T

    def extra_repr(self) -> str:
        return f"memory={self.memory}, every={self.every}"


def discriminant(
    number: Float[Tensor, " targets"],
    total: Float[Tensor, "targets classes"],
    square: Float[Tensor, "classes classes"],
) -> tuple[Float[Tensor, "targets classes"], Float[Tensor, " targets"]]:
    """Weights and bias of ``log P(t | z)`` from counts, sums and the sum of squares.

    A target class without a sample sits at the common mean, and a prior counts one sample more of
    every class, so no value is ever NaN.
    """
    n = number.sum().clamp_min(1)
    mean = torch.where(
        number[:, None] > 0, total / number.clamp_min(1e-12)[:, None], total.sum(0) / n
    )
    within = shrunk((square - (number[:, None] * mean).T @ mean) / n, float(n))
    weight = torch.linalg.solve(within, mean.T).T  # (targets, classes)
    prior = (number + 1) / (number + 1).sum()
    return weight, prior.log() - (weight * mean).sum(1) / 2


def shrunk(covariance: Float[Tensor, "d d"], n: float) -> Float[Tensor, "d d"]:
    """``(1 - rho) S + rho tr(S) / d I`` with the oracle approximating shrinkage rho.

    Example:
        >>> shrunk(torch.tensor([[2.0, 0.0], [0.0, 0.0]]), n=1.0)
        tensor([[1., 0.],
                [0., 1.]])
    """
    d = len(covariance)
    trace, squares = covariance.trace(), covariance.square().sum()  # tr(S), tr(S^2)
    rho = (1 - 2 / d) * squares + trace**2
    rho = rho / ((n + 1 - 2 / d) * (squares - trace**2 / d))  # eq. (23)
    rho = rho.nan_to_num(1.0).clamp(max=1)  # 0 / 0: nothing varies
    level = (trace / d).clamp_min(1e-12)
    return (1 - rho) * covariance + rho * level * torch.eye(d).to(covariance)


def centred(output: Tensor) -> Tensor:
    """Scores known up to a constant and logits are then the same."""
    return output - output.mean(1, keepdim=True)
