"""The size of a perturbation, chosen from a source's first answers."""

from __future__ import annotations

import warnings

import torch
from jaxtyping import Float
from torch import Tensor

PROBES = 2  # directions along which every size is tried
RUNGS = 6
RARE, AGREE = 0.5, 0.9


def ladder(w: Float[Tensor, " parameters"]) -> Float[Tensor, " rungs"]:
    """Sizes a factor 4 apart, from a thousandth of the parameters' own scale to the whole of it.

    The scale is their root mean square, and 1 where they are smaller: many programs begin at 0.

    Example:
        >>> [round(float(size), 3) for size in ladder(torch.zeros(3))]
        [0.001, 0.004, 0.016, 0.064, 0.256, 1.024]
    """
    scale = w.cpu().double().square().mean().sqrt().clamp_min(1.0)
    return scale * 1e-3 * 4.0 ** torch.arange(RUNGS, dtype=torch.float64)


def choose(
    sizes: Float[Tensor, " rungs"],
    differences: Float[Tensor, "rungs directions n"],
    resolution: float,
) -> int:
    """The smallest rung whose slopes are those of the next: neither rounding nor curvature speaks.

    Where no two rungs agree the loss is rough, and the rung is taken about which the difference of
    the whole batch stands out most from its spread over samples.

    Arguments:
        sizes: Of the perturbations, ascending.
        differences: Of each sample's loss, for each of them along the same directions.
        resolution: What of a difference may be rounding.

    Example:
        >>> sizes = torch.tensor([0.1, 0.4, 1.6])
        >>> seen = torch.tensor([[[0.1, -0.2]], [[0.4, -0.7]], [[1.2, -2.0]]])
        >>> choose(sizes, seen, 1e-7), choose(sizes, seen, 0.3)
        (0, 1)
    """
    flat = differences.flatten(1)
    slopes = (flat / sizes[:, None]).nan_to_num(0.0, 0.0, 0.0)
    agreement = torch.cosine_similarity(slopes[:-1], slopes[1:], dim=1)
    ties = (flat.abs() <= resolution).double().mean(1)[:-1]
    for rung, (lost, alike) in enumerate(zip(ties, agreement, strict=True)):
        if lost < RARE and alike > AGREE:
            return rung
    told = clearness(differences.where(differences.abs() > resolution, 0.0))
    if not told.any():
        warnings.warn(
            "no size of the perturbation changes the loss: the scores are coarse; "
            f"{float(sizes[-1]):.3g} is taken, and larger batches help",
            stacklevel=2,
        )
        return len(sizes) - 1
    return int(torch.nn.functional.avg_pool1d(told[None], 3, 1, 1)[0].argmax())


def clearness(differences: Float[Tensor, "rungs directions n"]) -> Float[Tensor, " rungs"]:
    """``mean^2 / (variance / n)`` over samples, averaged over directions; 0 where nothing differs.

    It is 1 where there is nothing but noise, grows with the size while a rough loss hides its
    slope, and falls when the perturbation leaves the slope behind.

    Example:
        >>> clearness(torch.tensor([[[1.0, 3.0]], [[0.0, 0.0]]]))
        tensor([4., 0.])
    """
    finite = differences.nan_to_num(0.0, 0.0, 0.0)
    spread = finite.var(2) / finite.shape[2] if finite.shape[2] > 1 else torch.ones(())
    return (finite.mean(2).square() / spread.clamp_min(1e-30)).mean(1).nan_to_num(0.0)
