"""Two frozen convolutions along time as two small matrix products, fast on a CPU.

Kernels of one column and few channels are awkward for a convolution library. Over a block of frames
such a convolution is a banded matrix; both together, with the frozen batch-norms folded in, read

    out = relu(band2 · relu(band1 · x + bias1) + bias2) · scale + shift,

block after block and sample after sample, so that the ten channels in between never leave the
cache. Nothing but the input is kept for the backward pass.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

BLOCK = 25  # frames: a longer band has more zeros to multiply, a shorter one more seams
relu_backward = torch.ops.aten.threshold_backward.grad_input


def is_frozen(x: Tensor, *modules: nn.Module) -> bool:
    """Whether the fast forms hold: on a CPU, no weight wants a gradient, no batch-norm learns."""
    return (
        x.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and not any(p.requires_grad for module in modules for p in module.parameters())
        and not any(isinstance(m, nn.BatchNorm2d) and m.training for m in modules)
    )


def frozen_convolutions(
    x: Float[Tensor, "batch frames bands"],
    conv1: nn.Conv2d,
    norm1: nn.BatchNorm2d,
    conv2: nn.Conv2d,
    norm2: nn.BatchNorm2d,
) -> Float[Tensor, "batch frames bands"]:
    """``norm2(relu(conv2(norm1(relu(conv1(x))))))``, differentiable once, in ``x`` alone.

    The modules are folded anew at every call, so that no change of a weight is missed.

    Arguments:
        x: Frames of bands.
        conv1: One channel to several, kernel (odd, 1), padding "same".
        norm1: After it, in evaluation mode.
        conv2: Back to one channel, kernel of the same size.
        norm2: After it, in evaluation mode.

    Example:
        >>> conv1 = nn.Conv2d(1, 10, (5, 1), padding="same")
        >>> conv2 = nn.Conv2d(10, 1, (5, 1), padding="same")
        >>> norm1, norm2 = nn.BatchNorm2d(10).eval(), nn.BatchNorm2d(1).eval()
        >>> frozen_convolutions(torch.zeros(2, 125, 80), conv1, norm1, conv2, norm2).shape
        torch.Size([2, 125, 80])
    """
    assert conv1.bias is not None and conv2.bias is not None
    with torch.no_grad():
        scale1, shift1 = _affine(norm1)  # (channels,)
        scale2, shift2 = _affine(norm2)  # (1,)
        kernel1, kernel2 = conv1.weight[:, 0, :, 0], conv2.weight[0, :, :, 0]  # (channels, kernel)
        frames, half = x.shape[1], kernel1.shape[1] // 2
        blocks = math.ceil(frames / BLOCK)
        length = math.ceil(frames / blocks)

        band1 = _band(kernel1, length + 2 * half)  # (channels, middle, length + 4 half)
        band2 = _band(kernel2 * scale1[:, None], length).transpose(0, 1)
        # Outside the signal the second convolution reads zeros: minus infinity before the relu.
        frame = torch.arange(blocks)[:, None] * length + torch.arange(length + 2 * half) - half
        outside = torch.where((frame >= 0) & (frame < frames), 0.0, -math.inf).to(x)
        bias1 = conv1.bias[:, None] + outside[:, None]  # (blocks, channels, middle)
        inside = nn.functional.pad(x.new_ones(frames), (half, half)).unfold(0, 2 * half + 1, 1)
        bias2 = inside @ (shift1 @ kernel2) + conv2.bias  # (frames,)

    x = _Bands.apply(x, band1.flatten(0, 1), bias1.flatten(1)[:, :, None], band2.flatten(1))
    return (x + bias2[:, None]).relu() * scale2 + shift2


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Scale and shift of a batch-norm that learns nothing more."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None
    scale = norm.weight * (variance + norm.eps).rsqrt()
    return scale, norm.bias - mean * scale


def _band(
    kernel: Float[Tensor, "channels taps"], length: int
) -> Float[Tensor, "channels length reach"]:
    """Each channel's correlation with its kernel as a matrix, reach = length + taps - 1."""
    channels, taps = kernel.shape
    band = kernel.new_zeros(channels, length, length + taps - 1)
    for tap in range(taps):
        band.diagonal(tap, 1, 2).copy_(kernel[:, tap, None])
    return band


class _Bands(torch.autograd.Function):
    """``band2 · relu(band1 · x + bias1)`` over blocks of frames; the middle is computed twice."""

    @staticmethod
    def forward(x: Tensor, band1: Tensor, bias1: Tensor, band2: Tensor) -> Tensor:
        blocks, length = len(bias1), len(band2)
        out = x.new_empty(len(x), blocks, length, x.shape[2])
        middle = x.new_empty(blocks, len(band1), x.shape[2])
        for sample, block in zip(out, _blocks(x, blocks, length, band1.shape[1]), strict=True):
            torch.bmm(band1.expand(blocks, -1, -1), block, out=middle).add_(bias1).relu_()
            torch.bmm(band2.expand(blocks, -1, -1), middle, out=sample)
        return out.flatten(1, 2)[:, : x.shape[1]]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        del output
        ctx.save_for_backward(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, band1, bias1, band2 = ctx.saved_tensors
        blocks, length, reach = len(bias1), len(band2), band1.shape[1]
        back1, back2 = (band.t().expand(blocks, -1, -1) for band in (band1, band2))
        middle = x.new_empty(blocks, len(band1), x.shape[2])
        inner, outer = torch.empty_like(middle), x.new_empty(blocks, reach, x.shape[2])
        dx = x.new_zeros(len(x), blocks * length + reach - length, x.shape[2])
        above = _blocks(gradient, blocks, length, length)
        for sample, block, dout in zip(dx, _blocks(x, blocks, length, reach), above, strict=True):
            torch.bmm(band1.expand(blocks, -1, -1), block, out=middle).add_(bias1)
            torch.bmm(back2, dout, out=inner)
            relu_backward(inner, middle, 0, grad_input=inner)
            torch.bmm(back1, inner, out=outer)
            for i, part in enumerate(outer):
                sample[i * length : i * length + reach] += part
        start = (reach - length) // 2
        return dx[:, start : start + x.shape[1]], None, None, None


def _blocks(
    x: Float[Tensor, "batch frames bands"], blocks: int, length: int, reach: int
) -> Float[Tensor, "batch {blocks} {reach} bands"]:
    """Block i holds the ``reach`` frames around its own ``length``; zeros outside; a view."""
    halo = (reach - length) // 2
    padded = nn.functional.pad(x, (0, 0, halo, halo + blocks * length - x.shape[1]))
    return padded.unfold(1, reach, length).transpose(2, 3)
