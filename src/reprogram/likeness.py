"""How like the real ones generated images are, in the features of a judge; from tensors only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from reprogram.types import UserError

BLOCK = 500  # rows at a time: beside 10,000 others, their distances in float64 are 40 MB
CALL = 250  # images in one call of a judge


@runtime_checkable
class Judging(Protocol):
    """A classifier of images that shows its features, as a source does."""

    @property
    def input(self) -> Any: ...
    @property
    def shows_features(self) -> bool: ...
    def __call__(self, x: Tensor) -> Tensor: ...
    def features(self, x: Tensor) -> Tensor | None: ...


class Judge(NamedTuple):
    """What reads images.

    Arguments:
        scores: Images (batch, channels, height, width) in [0, 1] to log-scores (batch, classes).
        features: Such images to (batch, width).
        shape: Of the images it takes; ``None``: whatever comes.
    """

    scores: Callable[[Tensor], Tensor]
    features: Callable[[Tensor], Tensor]
    shape: tuple[int, ...] | None = None


def frechet(a: Float[Tensor, "n width"], b: Float[Tensor, "m width2"]) -> float:
    """The squared Frechet distance of two Gaussians with the means and covariances of ``a`` and
    ``b``; of features of images it is called FID, whatever the classifier.

    Two rows each suffice to compute it. Below about ten times ``width`` rows it is mostly the noise
    of the covariances: it is too large, by an amount that falls as 1 / rows, so that distances
    compare only at the same numbers of rows.

    Arguments:
        a: One sample a row.
        b: Likewise.

    Returns:
        Zero or more, in the square of the features' unit.

    Raises:
        UserError: for fewer than two rows, other widths, or numbers that are not finite.

    References:
        | GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium (Heusel,
          Ramsauer, Unterthiner, Nessler, Hochreiter, 2017), arXiv 1706.08500

    Example:
        >>> a = torch.tensor([[-1.0], [1.0]])
        >>> round(frechet(a, 3 * a + 5), 6)  # 5^2 + (sqrt(18) - sqrt(2))^2
        33.0
    """
    a, b = _rows(a=a, b=b, least=2)
    (mean_a, root_a), (mean_b, root_b) = _moments(a), _moments(b)
    # tr (C_a C_b)^1/2 is the sum of the singular values of C_a^1/2 C_b^1/2: no root of a product
    # of covariances has to be taken, where rounding would count twice.
    shared = torch.linalg.svdvals(root_a @ root_b).sum()
    spread = root_a.square().sum() + root_b.square().sum()  # tr C = |C^1/2|^2
    distance = (mean_a - mean_b).square().sum() + spread - 2 * shared  # eq. (6)
    return max(0.0, distance.item())


def density_coverage(
    images: Float[Tensor, "n width"], real: Float[Tensor, "m width2"], *, neighbours: int = 5
) -> tuple[float, float]:
    """Density and coverage: how many real samples are near a generated one, and the other way.

    About every real sample lies the ball that reaches to its k-th neighbour among the real ones.

    Arguments:
        images: Features of generated images.
        real: Features of real ones.
        neighbours: k.

    Returns:
        Density: how many balls hold a generated sample, over k, on average; zero or more, about 1
        for samples of the real distribution. Coverage: the share of balls that hold a generated
        sample, 0 to 1.

    Raises:
        UserError: for too few rows, other widths, or numbers that are not finite.

    References:
        | Reliable Fidelity and Diversity Metrics for Generative Models (Naeem, Oh, Uh, Choi, Yoo,
          2020), arXiv 2002.09797

    Example:
        >>> x = torch.arange(12.0)[:, None]
        >>> density_coverage(x[:6] - 0.01, x, neighbours=1)[1]
        0.5
    """
    images, real = _rows(images=images, real=real)
    holding, held = 0, torch.zeros(len(real), dtype=torch.bool)
    for inside in _inside(images, real, _reach(real, neighbours, "real")):
        holding += int(inside.count_nonzero())
        held |= inside.any(0)
    density = holding / (neighbours * len(images))  # section 3.2, both
    coverage = held.double().mean().item()
    return density, coverage


def precision_recall(
    images: Float[Tensor, "n width"], real: Float[Tensor, "m width2"], *, neighbours: int = 3
) -> tuple[float, float]:
    """Improved precision and recall: shares of samples within the other samples' manifold.

    A manifold is the union of balls about samples that reach to the k-th neighbour among them.

    Arguments:
        images: Features of generated images.
        real: Features of real ones.
        neighbours: k.

    Returns:
        The share of generated samples among the real ones, and that of real samples among the
        generated ones; both 0 to 1.

    Raises:
        UserError: for too few rows, other widths, or numbers that are not finite.

    References:
        | Improved Precision and Recall Metric for Assessing Generative Models (Kynkaanniemi,
          Karras, Laine, Lehtinen, Aila, 2019), arXiv 1904.06991

    Example:
        >>> x = torch.arange(12.0)[:, None]
        >>> precision_recall(x[:6], x, neighbours=1)  # 6 lies within reach of 5
        (1.0, 0.5833333333333334)
    """
    images, real = _rows(images=images, real=real)
    precision = _among(images, real, _reach(real, neighbours, "real"))  # eq. (2)
    recall = _among(real, images, _reach(images, neighbours, "images"))
    return precision, recall


def likeness(
    images: Float[Tensor, "n c h w"] | UInt8[Tensor, "n c h w"],
    real: Float[Tensor, "m c2 h2 w2"] | UInt8[Tensor, "m c2 h2 w2"],
    classes_wanted: Int[Tensor, " wanted"],
    real_classes: Int[Tensor, " known"],
    judge: Judging | Judge | tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]],
) -> dict[str, float]:
    """What a judge says of images that were made of wanted classes, beside real ones.

    Images of another size than the judge takes are resized bilinearly; a single channel is
    repeated, and several become their mean where the judge takes one.

    Arguments:
        images: Generated, in [0, 1] or uint8.
        real: Likewise; none that the generator learned from.
        classes_wanted: Of each generated image, as the judge counts its classes.
        real_classes: Of each real image.
        judge: A source that classifies images and shows its features; or its log-scores and its
            features, each as a function of images.

    Returns:
        ``wanted``, the share of images that the judge reads as the wanted class; ``fid``, see
        :func:`frechet`; ``intra_fid``, its mean over the classes, each by itself; ``coverage``;
        ``recall`` and ``precision``.

    Raises:
        UserError: if a class has fewer than two images, or the judge no features; see also the
            parts.

    Example:
        >>> x = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> y = (x[:, 0, 0, 0] > 0.5).long()
        >>> corner = lambda x: torch.stack([0.5 - x[:, 0, 0, 0], x[:, 0, 0, 0] - 0.5], 1)
        >>> told = likeness(x, x, y, y, (corner, lambda x: x.flatten(1)[:, :3]))
        >>> told["wanted"], told["coverage"], round(told["intra_fid"], 6)
        (1.0, 1.0, 0.0)
    """
    judge = _judge(judge)
    for name, x, classes in (("images", images, classes_wanted), ("real", real, real_classes)):
        if len(x) != len(classes):
            raise UserError(f"argument {name!r} has {len(x)} rows, but their classes "
                            f"{len(classes)}; give one class for each image")  # fmt: skip
    wanted, known = classes_wanted.cpu(), real_classes.cpu()
    classes = _classes(wanted, known)
    scores, shown = _read(images, judge, "images")
    _, seen = _read(real, judge, "real")
    if classes[-1] >= scores.shape[1]:
        raise UserError(f"class {classes[-1]} is wanted, but the judge tells {scores.shape[1]} "
                        "classes; take a judge of these classes")  # fmt: skip
    within = [frechet(shown[wanted == c], seen[known == c]) for c in classes]
    precision, recall = precision_recall(shown, seen)
    return {
        "wanted": (scores.argmax(1) == wanted).double().mean().item(),
        "fid": frechet(shown, seen),
        "intra_fid": sum(within) / len(within),
        "coverage": density_coverage(shown, seen)[1],
        "recall": recall,
        "precision": precision,
    }


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (width,) and the symmetric root of the covariance (width, width)."""
    values, vectors = torch.linalg.eigh(torch.atleast_2d(x.T.cov()))
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T  # rounding leaves some below zero
    return x.mean(0), root


def _squares(x: Tensor, others: Tensor) -> Iterator[Tensor]:
    """Squared distances of rows to all others, (up to 500, len(others)) at a time."""
    lengths = others.square().sum(1)
    for rows in x.split(BLOCK):
        own = rows.square().sum(1, keepdim=True)
        squares = torch.addmm(lengths, rows, others.T, alpha=-2).add_(own)
        # what is left of equal rows is rounding: they must be no distance apart
        yield squares.masked_fill_(squares < 1e-12 * own, 0)


def _reach(x: Tensor, neighbours: int, name: str) -> Tensor:
    """Squared distance (rows,) of every row to its k-th neighbour, itself not counted."""
    if not 0 < neighbours < len(x):
        raise UserError(f"argument 'neighbours' is {neighbours}, but {name!r} has {len(x)} rows; "
                        "give more images, or fewer neighbours")  # fmt: skip
    return torch.cat([s.topk(neighbours + 1, largest=False)[0][:, -1] for s in _squares(x, x)])


def _inside(x: Tensor, centres: Tensor, reach: Tensor) -> Iterator[Tensor]:
    """Which balls hold which rows, (up to 500, len(centres)) at a time."""
    for squares in _squares(x, centres):
        yield squares <= reach


def _among(x: Tensor, centres: Tensor, reach: Tensor) -> float:
    """The share of rows that some ball holds."""
    held = torch.cat([inside.any(1) for inside in _inside(x, centres, reach)])  # eq. (1)
    return held.double().mean().item()


def _rows(*, least: int = 1, **samples: Tensor) -> list[Tensor]:
    """Both sets of features, checked, in double precision."""
    (first, a), (second, b) = samples.items()
    for name, x in samples.items():
        if x.ndim != 2 or len(x) < least:
            raise UserError(f"argument {name!r} has the shape {tuple(x.shape)}; give features "
                            f"(rows, width) of {least} rows or more")  # fmt: skip
        if not torch.isfinite(x).all():
            raise UserError(f"argument {name!r} holds numbers that are not finite; "
                            "look for what made them")  # fmt: skip
    if a.shape[1] != b.shape[1]:
        raise UserError(f"argument {first!r} has width {a.shape[1]} and {second!r} {b.shape[1]}; "
                        "take both from one judge")  # fmt: skip
    return [x.detach().cpu().double() for x in (a, b)]


def _judge(judge: Any) -> Judge:
    if isinstance(judge, tuple):
        return Judge(*judge)
    if not judge.shows_features:
        raise UserError("argument 'judge' shows no features; take a classifier that does, "
                        "such as zoo:digits")  # fmt: skip
    return Judge(judge, judge.features, judge.input.shape)


def _classes(wanted: Tensor, known: Tensor) -> list[int]:
    """The classes of both, in order, each with two images or more on both sides."""
    classes = sorted({*wanted.tolist(), *known.tolist()})
    if not classes:
        raise UserError("argument 'images' is empty; give images of every class")
    for what, own in (("generated", wanted), ("real", known)):
        for c in classes:
            count = int((own == c).sum())
            if count < 2:
                raise UserError(f"class {c} has {count} {what} images, and a distance within a "
                                "class needs 2; give more of it")  # fmt: skip
    return classes


@torch.no_grad()
def _read(images: Tensor, judge: Judge, name: str) -> tuple[Tensor, Tensor]:
    """Log-scores (n, classes) and features (n, width)."""
    told = []
    for x in images.split(CALL):
        x = x.float() / 255 if x.dtype == torch.uint8 else x
        x = x if judge.shape is None else _shaped(x, judge.shape, name)
        told.append((judge.scores(x).cpu(), judge.features(x).cpu()))
    scores, features = (torch.cat(parts) for parts in zip(*told, strict=True))
    return scores, features


def _shaped(x: Tensor, shape: tuple[int, ...], name: str) -> Tensor:
    """(batch, c, h, w) as the judge takes them."""
    channels, *size = shape
    if x.shape[1] != channels:
        if 1 not in (x.shape[1], channels):
            raise UserError(f"argument {name!r} has {x.shape[1]} channels and the judge takes "
                            f"{channels}; one of them must be 1, or both equal")  # fmt: skip
        x = x.mean(1, keepdim=True).expand(-1, channels, -1, -1)
    if list(x.shape[2:]) == size:
        return x
    # antialias: a smaller image is the mean of what it covers
    return torch.nn.functional.interpolate(x, size, mode="bilinear", antialias=True)
