"""A frozen bidirectional LSTM whose backward pass computes the input's gradient alone.

The library's own backward pass also computes the gradients of the weights, which nobody wants of a
frozen layer, and keeps a large workspace for them. Here both directions step together, one in each
half of a batched matrix product:

    i, f, o = sigmoid(W · [x, h] + b),  g = tanh(W · [x, h] + b),
    c = f · c + i · g,  h = o · tanh(c).
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from reprogram.sources.frozen_conv import is_frozen

WORTHWHILE = 64  # samples: in smaller batches the library's fused steps win (benchmarks/)

tanh_backward = torch.ops.aten.tanh_backward.grad_input
sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input


def lstm_outputs(
    lstm: nn.LSTM, x: Float[Tensor, "batch frames width"]
) -> Float[Tensor, "batch frames outputs"]:
    """``lstm(x)[0]``, by :func:`frozen_lstm` where that holds and is faster.

    Arguments:
        lstm: One layer, bidirectional, batch first, with biases.
        x: Sequences.
    """
    wanted = torch.is_grad_enabled() and x.requires_grad
    if wanted and len(x) >= WORTHWHILE and is_frozen(x, lstm):
        return frozen_lstm(lstm, x)
    return lstm(x)[0]


def frozen_lstm(
    lstm: nn.LSTM, x: Float[Tensor, "batch frames width"]
) -> Float[Tensor, "batch frames outputs"]:
    """``lstm(x)[0]``, differentiable once, in ``x`` alone.

    The weights are read anew at every call, so that no change of them is missed.

    Arguments:
        lstm: One layer, bidirectional, batch first, with biases.
        x: Sequences.

    Example:
        >>> lstm = nn.LSTM(80, 64, batch_first=True, bidirectional=True)
        >>> frozen_lstm(lstm, torch.zeros(2, 125, 80)).shape
        torch.Size([2, 125, 128])
    """

    def both(name: str) -> Tensor:  # (2, 4 hidden, ...): the sigmoids' gates side by side
        weight = torch.stack([getattr(lstm, f"{name}_l0{way}") for way in ("", "_reverse")])
        i, f, g, o = weight.chunk(4, 1)
        return torch.cat((i, f, o, g), 1)

    with torch.no_grad():
        weight = torch.cat((both("weight_ih"), both("weight_hh")), 2)
        bias = both("bias_ih") + both("bias_hh")
    return _Steps.apply(x, weight, bias)[0]


class _Steps(torch.autograd.Function):
    """Step k is frame k of the forward direction and frame -1 - k of the backward one."""

    @staticmethod
    def forward(
        x: Tensor,  # (batch, frames, width)
        weight: Tensor,  # (2, 4 hidden, width + hidden)
        bias: Tensor,  # (2, 4 hidden)
    ) -> tuple[Tensor, Tensor, Tensor]:
        batch, frames, width = x.shape
        hidden = bias.shape[1] // 4
        gates = x.new_empty(frames, 2, batch, 4 * hidden)
        cells = x.new_zeros(frames + 1, 2, batch, hidden)  # before and after each step
        out = x.new_empty(frames, batch, 2 * hidden)

        weight, bias = weight.transpose(1, 2).contiguous(), bias[:, None]
        state = x.new_zeros(2, batch, width + hidden)
        h = state[:, :, width:]
        (to_ahead, to_behind), (h_ahead, h_behind) = state[:, :, :width], h
        seen, c = x.unbind(1), cells.unbind()
        ahead, behind = (half.unbind() for half in out.chunk(2, 2))
        step, (sigmoids, i, f, o, g) = gates.unbind(), _parts(gates)
        for k in range(frames):
            to_ahead.copy_(seen[k])
            to_behind.copy_(seen[-1 - k])
            torch.baddbmm(bias, state, weight, out=step[k])
            sigmoids[k].sigmoid_()
            g[k].tanh_()
            torch.mul(f[k], c[k], out=c[k + 1]).addcmul_(i[k], g[k])
            torch.mul(o[k], c[k + 1].tanh(), out=h)
            ahead[k].copy_(h_ahead)
            behind[-1 - k].copy_(h_behind)
        return out.transpose(0, 1), gates, cells

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        _, gates, cells = output
        ctx.mark_non_differentiable(gates, cells)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(inputs[1], gates, cells)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        if gradient is None:
            return None, None, None
        weight, gates, cells = ctx.saved_tensors
        frames, _, batch, hidden = gates.shape[0], *cells.shape[1:]
        width = weight.shape[2] - hidden
        dx = cells.new_zeros(frames, batch, width)

        dgates = torch.empty_like(gates[:1])
        (dsigmoids,), (di,), (df,), (do,), (dg,) = _parts(dgates)
        dstate = cells.new_zeros(2, batch, width + hidden)
        dh = dstate[:, :, width:]
        (from_ahead, from_behind), (dh_ahead, dh_behind) = dstate[:, :, :width], dh
        dc, buffer = torch.zeros_like(cells[0]), torch.empty_like(cells[0])
        seen, c = dx.unbind(), cells.unbind()
        ahead, behind = (half.unbind(1) for half in gradient.chunk(2, 2))
        sigmoids, i, f, o, g = _parts(gates)
        for k in reversed(range(frames)):
            dh_ahead.add_(ahead[k])
            dh_behind.add_(behind[-1 - k])
            tanh = c[k + 1].tanh()
            torch.mul(dh, tanh, out=do)
            torch.mul(dh, o[k], out=buffer)
            dc.add_(tanh_backward(buffer, tanh, grad_input=buffer))
            torch.mul(dc, g[k], out=di)
            torch.mul(dc, c[k], out=df)
            torch.mul(dc, i[k], out=buffer)
            tanh_backward(buffer, g[k], grad_input=dg)
            sigmoid_backward(dsigmoids, sigmoids[k], grad_input=dsigmoids)
            dc.mul_(f[k])
            torch.bmm(dgates[0], weight, out=dstate)
            seen[k].add_(from_ahead)
            seen[-1 - k].add_(from_behind)
        return dx.transpose(0, 1), None, None


def _parts(gates: Float[Tensor, "steps 2 batch gates"]) -> list[tuple[Tensor, ...]]:
    """Step by step: the three sigmoids' gates together, then i, f, o, g."""
    each = gates.chunk(4, 3)
    return [gates[..., : 3 * each[0].shape[3]].unbind(), *(gate.unbind() for gate in each)]
