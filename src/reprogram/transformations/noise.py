"""A wanted class as the noise that makes a generator draw it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from reprogram.draws import forked_rng
from reprogram.transformations.base import Transformation, require_kinds
from reprogram.types import SourceLike, TaskSpec, UserError

SLOPE = 0.1  # of the leaky ReLUs
MOMENTUM, EPS = 0.1, 1e-5  # of the batch-norm, torch's own
CLOSE, ROUNDS = 1e-6, 1000  # where the search for an inverse ends
_Affine = tuple[Tensor, Tensor]  # a matrix and a bias


class NoiseTransformation(Transformation):
    """Wanted classes (batch,) -> noise (batch, z), drawn anew at every call.

    The draw u ~ N(0, I) comes from torch's own generator, on the program's device.
    """

    random = True

    def meet(self, source: SourceLike, task: TaskSpec) -> tuple[int, int]:
        """Numbers of classes and of the source's noise.

        Raises:
            UserError: if the task wants no classes or has none of one of them, or the source takes
                no noise, or one with bounds.
        """
        require_kinds(self, source, "noise", task, "class")
        low, high = source.input.lower, source.input.upper
        if high - low < float("inf"):
            raise UserError(f"{type(self).__name__} writes noise without bounds; source "
                            f"{source.uri or 'given'} takes {low} to {high}")  # fmt: skip
        empty = [name for name, n in zip(task.classes, task.counts, strict=False) if n == 0]
        if empty:
            raise UserError(f"class {empty[0]!r} has 0 of {sum(task.counts)} training images of "
                            f"{task.name}; give it some, or leave the class out")  # fmt: skip
        self.classes = len(task.classes)
        return self.classes, source.input.shape[0]

    def prepare(self, x: Float[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """Classes as indices.

        Raises:
            UserError: for one that the task does not have.
        """
        y = x.long()
        wrong = y[(y < 0) | (y >= self.classes)]
        if len(wrong):
            raise UserError(f"class {int(wrong[0])} is wanted, and the program has {self.classes}; "
                            f"give 0 to {self.classes - 1}")  # fmt: skip
        return y


class ClassNoise(NoiseTransformation):
    """A network of its own for each class, from noise to the source's noise.

    ``z = F_y(u)``: linear layers with batch-norm and leaky ReLU (0.1) between them, orthogonal at
    first. Classes share nothing: batch statistics are those of the samples that want one class, and
    a class that a batch has only once is normalised by its running statistics. All classes are
    computed at once.

    Valid at the door ``noise`` of a generator, for a task that wants classes.

    References:
        | Reprogramming GANs via Input Noise Design (Lee, Seo, Varshney, 2020, ECML PKDD), in the
          reading of Dinh and others (2022). https://arxiv.org/abs/2201.02692

    Arguments:
        inner: Numbers drawn for a sample, >= 1; ``None`` for as many as the source takes. The
            paper's are 118 for a source of 128.
        hidden: Width of the hidden layers, >= 1.
        layers: Linear layers, >= 1.
        seed: Of the first weights.

    Raises:
        UserError: if a number is out of its range.

    Example:
        >>> from reprogram.sources import CallableSource
        >>> from reprogram.types import InputSpec, OutputSpec, TaskSpec
        >>> source = CallableSource(
        ...     len, InputSpec("noise", (6,)), OutputSpec("image", (1, 8, 8)))
        >>> part = ClassNoise(hidden=5)
        >>> part.bind(source, TaskSpec("toy", InputSpec("class", ()), ("a", "b"), (9, 9)))
        >>> part(part.prepare(torch.tensor([0.0, 1.0, 1.0]))).shape
        torch.Size([3, 6])
    """

    means: Float[Tensor, "between classes width"]
    variances: Float[Tensor, "between classes width"]

    def __init__(
        self, *, inner: int | None = None, hidden: int = 128, layers: int = 4, seed: int = 0
    ) -> None:
        super().__init__()
        for name, value in (("inner", inner), ("hidden", hidden), ("layers", layers)):
            if value is not None and value < 1:
                raise UserError(f"argument {name!r} is {value}; give 1 or more")
        self.inner, self.hidden, self.layers, self.seed = inner, hidden, layers, seed

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Create the networks under the seed; see :meth:`NoiseTransformation.meet`."""
        classes, z = self.meet(source, task)
        self.drawn = self.inner or z
        widths = [self.drawn, *[self.hidden] * (self.layers - 1), z]
        generator = torch.Generator().manual_seed(self.seed)
        pairs = list(pairwise(widths))
        self.weights = nn.ParameterList(
            torch.stack([_orthogonal(*pair, generator) for _ in range(classes)]) for pair in pairs
        )
        self.biases = nn.ParameterList(torch.zeros(classes, 1, width) for width in widths[1:])
        between = self.layers - 1
        ones, zeros = (make(between, classes, self.hidden) for make in (torch.ones, torch.zeros))
        self.scale, self.shift = nn.Parameter(ones), nn.Parameter(zeros)
        self.register_buffer("means", zeros.clone())
        self.register_buffer("variances", ones.clone())

    def forward(self, prepared: Int[Tensor, " batch"]) -> Float[Tensor, "batch z"]:
        """Noise for the wanted classes."""
        y = prepared
        place, there = places(y, self.classes)
        u = torch.randn(len(y), self.drawn, device=y.device)
        x = u.new_zeros(*there.shape, self.drawn)  # (K, most, inner): classes side by side
        x[y, place] = u
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x, weight)
            if i < self.layers - 1:
                x = F.leaky_relu(self._normed(i, x, there), SLOPE)
        return x[y, place]

    def _normed(self, i: int, x: Tensor, there: Tensor) -> Tensor:
        """Batch-norm (K, most, width) within each class."""
        mean, variance = self.means[i].clone(), self.variances[i].clone()  # (K, width)
        if self.training:
            n = there.sum(1, keepdim=True).to(x.dtype)  # (K, 1)
            own = (x * there[..., None]).sum(1) / n.clamp_min(1)
            spread = ((x - own[:, None]) * there[..., None]).square().sum(1) / n.clamp_min(1)
            several = n > 1
            with torch.no_grad():  # the running variance is the unbiased one, as torch has it
                self.means[i].lerp_(own, MOMENTUM * several)
                self.variances[i].lerp_(spread * n / (n - 1).clamp_min(1), MOMENTUM * several)
            mean, variance = own.where(several, mean), spread.where(several, variance)
        x = (x - mean[:, None]) * (variance + EPS).rsqrt()[:, None]
        return self.scale[i][:, None] * x + self.shift[i][:, None]


class SharedNoise(NoiseTransformation):
    """One invertible network for all classes, from noise and a class's embedding.

    ``z = M(u, y)``: u and the embedding of y beside each other, then residual blocks
    ``x + g(x)`` with ``g = lrelu(W_2 lrelu(W_1 x + b_1) + b_2)``. Each matrix is divided by its
    largest singular value and multiplied by ``bound``. Where that is below 1, g is a contraction,
    each block has an inverse, and no noise is lost: :meth:`inverse` finds it. The bound of the
    paper's code is 1, and one step of the power method finds a singular value that is too small:
    its network need not be invertible.

    Valid at the door ``noise`` of a generator, for a task that wants classes.

    References:
        | Improved Input Reprogramming for GAN Conditioning (Dinh, Seo, Du, Shang, Lee, 2022).
          https://arxiv.org/abs/2201.02692
        | Invertible Residual Networks (Behrmann, Grathwohl, Chen, Duvenaud, Jacobsen, 2019),
          algorithm 1. https://arxiv.org/abs/1811.00995

    Arguments:
        embedding: Numbers of a class's embedding, >= 1 and below the source's noise; the others are
            drawn. The paper's are 10 of 128.
        blocks: Residual blocks, >= 0.
        bound: Largest singular value of a matrix, in (0, 1].
        seed: Of the first weights.

    Raises:
        UserError: if a number is out of its range.

    Example:
        >>> from reprogram.sources import CallableSource
        >>> from reprogram.types import InputSpec, OutputSpec, TaskSpec
        >>> source = CallableSource(
        ...     len, InputSpec("noise", (6,)), OutputSpec("image", (1, 8, 8)))
        >>> part = SharedNoise(embedding=2)
        >>> part.bind(source, TaskSpec("toy", InputSpec("class", ()), ("a", "b"), (9, 9)))
        >>> z = part(part.prepare(torch.tensor([0.0, 1.0, 1.0])))
        >>> torch.allclose(part.inverse(z)[:, -2:], part.table[[0, 1, 1]], atol=1e-5)
        True
    """

    def __init__(
        self, *, embedding: int = 10, blocks: int = 3, bound: float = 0.97, seed: int = 0
    ) -> None:
        super().__init__()
        if embedding < 1:
            raise UserError(f"argument 'embedding' is {embedding}; give 1 or more")
        if blocks < 0:
            raise UserError(f"argument 'blocks' is {blocks}; give 0 or more")
        if not 0 < bound <= 1:
            raise UserError(f"argument 'bound' is {bound}; give (0, 1]")
        self.embedding, self.blocks, self.bound, self.seed = embedding, blocks, bound, seed

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Create the network under the seed; see :meth:`NoiseTransformation.meet`.

        Raises:
            UserError: if the embedding leaves nothing to draw, too.
        """
        classes, z = self.meet(source, task)
        if self.embedding >= z:
            raise UserError(f"argument 'embedding' is {self.embedding}, and the source takes {z} "
                            f"numbers; give 1 to {z - 1}")  # fmt: skip
        self.drawn = z - self.embedding
        with forked_rng(self.seed, 0):
            self.table = nn.Parameter(torch.randn(classes, self.embedding))
            self.layers = nn.ModuleList(nn.Linear(z, z) for _ in range(2 * self.blocks))

    def forward(self, prepared: Int[Tensor, " batch"]) -> Float[Tensor, "batch z"]:
        """Noise for the wanted classes."""
        u = torch.randn(len(prepared), self.drawn, device=prepared.device)
        x = torch.cat([u, self.table[prepared]], 1)  # (batch, z)
        for first, second in self._pairs():
            x = x + _branch(x, first, second)
        return x

    @torch.no_grad()
    def inverse(self, z: Float[Tensor, "batch z"]) -> Float[Tensor, "batch z"]:
        """What was drawn, and the embedding beside it: the fixed point of ``x = z - g(x)``.

        Raises:
            UserError: if ``bound`` is 1: there need not be one.
        """
        if self.bound == 1:
            raise UserError("argument 'bound' is 1, and a network is invertible below it; give "
                            "less, such as 0.97")  # fmt: skip
        for first, second in reversed(self._pairs()):
            y, x = z, z
            for _ in range(ROUNDS):
                z = y - _branch(x, first, second)
                if (z - x).abs().max() < CLOSE:
                    break
                x = z
        return z

    def _pairs(self) -> Sequence[tuple[_Affine, _Affine]]:
        """Bounded matrix and bias of both layers of each block."""
        affine = [(self.bound * w / largest(w), b) for w, b in map(_parameters, self.layers)]  # pyright: ignore
        return list(zip(affine[::2], affine[1::2], strict=True))


def _parameters(layer: nn.Linear) -> _Affine:
    return layer.weight, layer.bias


def _branch(x: Tensor, first: _Affine, second: _Affine) -> Tensor:
    """``lrelu(W_2 lrelu(W_1 x + b_1) + b_2)``."""
    return F.leaky_relu(F.linear(F.leaky_relu(F.linear(x, *first), SLOPE), *second), SLOPE)


def largest(weight: Float[Tensor, "out in"]) -> Float[Tensor, ""]:
    """The largest singular value, exact, with a gradient that stands fast where several are equal.

    Example:
        >>> largest(torch.diag(torch.tensor([3.0, -4.0])))
        tensor(4.)
    """
    left, _, right = torch.linalg.svd(weight.detach())
    return left[:, 0] @ weight @ right[0]


def places(
    y: Int[Tensor, " batch"], classes: int
) -> tuple[Int[Tensor, " batch"], Bool[Tensor, "classes most"]]:
    """Samples laid out by class: the place of each among its own, and where there is one.

    Example:
        >>> places(torch.tensor([1, 0, 1]), 2)
        (tensor([0, 0, 1]), tensor([[ True, False],
                [ True,  True]]))
    """
    so_far = F.one_hot(y, classes).cumsum(0)  # (batch, K)
    place = so_far.gather(1, y[:, None])[:, 0] - 1
    most = int(place.max()) + 1 if len(y) else 0
    return place, torch.arange(most, device=y.device) < so_far[-1:].T


def _orthogonal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """A matrix with orthonormal rows or columns, whichever are fewer."""
    q, r = torch.linalg.qr(torch.randn(max(rows, columns), min(rows, columns), generator=generator))
    q = q * r.diagonal().sign()
    return q if rows >= columns else q.T.contiguous()
