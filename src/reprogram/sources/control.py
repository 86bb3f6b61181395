"""What makes a network forget: weights permuted, and what keeps such a control well scaled."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from reprogram.lexicon import Lexicon
from reprogram.types import Batch, InputSpec, Tokens, mapped

Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


def permute(module: nn.Module, generator: torch.Generator) -> None:
    """Permute every weight tensor in itself, in place; strides and devices stay.

    Example:
        >>> layer = nn.Linear(100, 2)
        >>> before = layer.weight.detach().clone()
        >>> permute(layer, torch.Generator().manual_seed(0))
        >>> torch.equal(layer.weight, before), torch.equal(
        ...     layer.weight.flatten().sort()[0], before.flatten().sort()[0])
        (False, True)
    """
    for parameter in module.parameters():
        order = torch.randperm(parameter.numel(), generator=generator)
        flat = parameter.detach().reshape(-1)
        shuffled = flat[order.to(flat.device)].reshape(parameter.shape)
        parameter.data = torch.empty_like(parameter).copy_(shuffled)


def permute_tables(lexicon: Lexicon, generator: torch.Generator) -> None:
    """Permute every table of a lexicon in itself."""
    for name, table in lexicon.named_buffers():
        order = torch.randperm(table.numel(), generator=generator).to(table.device)
        setattr(lexicon, name, table.reshape(-1)[order].reshape(table.shape))


def rescale(
    network: nn.Module, original: nn.Module, batch: Batch, generator: torch.Generator
) -> None:
    """Bring a permuted network to the original's scale, by what its layers allow.

    Batch-norm statistics are re-estimated (:func:`estimate_norms`); a network without any
    normalisation layer is matched layer by layer (:func:`match_layers`); other normalisations, such
    as a layer-norm, need nothing: their statistics are each sample's own.

    Arguments:
        network: Changed in place.
        original: Of the same architecture.
        batch: Inputs of both.
        generator: Of what is drawn for :func:`match_layers`.
    """
    device = next(network.parameters(), torch.empty(0)).device
    batch = mapped(batch, lambda part: part.to(device))
    modules = [*network.modules()]
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in modules):
        estimate_norms(network, batch)
    elif not any(is_normalisation(module) for module in modules):
        match_layers(network, original, batch, generator)


def is_normalisation(module: nn.Module) -> bool:
    """Whether a layer normalises what passes: torch's own, and those of the same habit of naming.

    Example:
        >>> [is_normalisation(m) for m in (nn.BatchNorm2d(1), nn.LayerNorm(1), nn.Linear(1, 1))]
        [True, True, False]
    """
    return any(re.search(r"Norm(\dd)?$", base.__name__) for base in type(module).__mro__)


def estimate_norms(network: nn.Module, batch: Batch) -> None:
    """Estimate the running statistics of every batch-norm anew, in one pass over ``batch``.

    Arguments:
        network: Takes ``batch``; afterwards it is in evaluation mode.
        batch: Its inputs.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum, norm.training = None, True  # None: the plain average
    with torch.no_grad():
        network(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.train(False)


@torch.no_grad()
def match_layers(
    network: nn.Module, original: nn.Module, batch: Batch, generator: torch.Generator
) -> None:
    """Give the outputs of linear layers and convolutions the original's means and deviations.

    A batch-norm gives each channel a mean and a deviation. Where there is none, or it was folded
    into the weights, permuted weights let the signal drown in the channels' offsets within a few
    layers, and a control that is deaf proves nothing. So each layer's weights and biases are
    rescaled in the order in which they are met, each channel to the statistics of another channel
    of the same layer of the original, drawn at random. That takes one pass through each network.
    Without a bias only the deviations are matched.

    Arguments:
        network: Changed in place.
        original: Of the same architecture.
        batch: Inputs of both; statistics are over samples and places.
        generator: Draws which channel gets whose statistics.
    """
    twins = dict(original.named_modules(remove_duplicate=False))
    layers = {name: m for name, m in network.named_modules() if isinstance(m, Layer)}
    told: dict[str, tuple[Tensor, Tensor]] = {}

    def listen(name: str) -> Callable[..., None]:
        def hook(layer: Any, inputs: Any, output: Tensor) -> None:
            del inputs
            told.setdefault(name, _statistics(layer, output))

        return hook

    def correct(name: str, order: Tensor) -> Callable[..., Tensor | None]:
        def hook(layer: Any, inputs: Any, output: Tensor) -> Tensor | None:
            del inputs
            if name not in told:  # met before: corrected already
                return None
            mean, std = (value[order.to(value.device)] for value in told.pop(name))  # (channels,)
            own_mean, own_std = _statistics(layer, output)
            # A channel that only rounding moves would be all noise if it were scaled up.
            heard = own_std > 1e-5 * output.abs().max()
            scale = torch.where(heard, std / own_std, 1.0)
            layer.weight.data.mul_(_beside(scale, layer.weight, 0))
            channels = _channels(layer)
            output = output * _beside(scale, output, channels)
            if layer.bias is None:
                return output
            shift = mean - scale * own_mean
            layer.bias.data.mul_(scale).add_(shift)
            return output + _beside(shift, output, channels)

        return hook

    orders = {
        name: torch.randperm(len(layer.weight), generator=generator)
        for name, layer in layers.items()
    }
    _run(original, batch, {twins[name]: listen(name) for name in layers})
    _run(network, batch, {layer: correct(name, orders[name]) for name, layer in layers.items()})


def noise(spec: InputSpec, generator: torch.Generator) -> Batch:
    """64 samples of a door's shape: uniform within finite bounds, else normal.

    Texts are whole and read at their last place: a score for each token at each of 512 places would
    be a hundred million numbers.
    """
    shape = (64, *spec.shape)
    if spec.kind == "tokens":
        ids = torch.randint(int(spec.lower), int(spec.upper) + 1, shape, generator=generator)
        return Tokens(ids, torch.ones(shape), torch.full(shape[:1], shape[1] - 1))
    if math.isfinite(spec.lower) and math.isfinite(spec.upper):
        values = torch.rand(shape, generator=generator) * (spec.upper - spec.lower) + spec.lower
    else:
        values = torch.randn(shape, generator=generator) * spec.std + spec.mean
    if spec.kind == "embeddings" and len(spec.shape) == 2:
        return Tokens(values, torch.ones(shape[:2]), torch.full(shape[:1], shape[1] - 1))
    return values


def _channels(layer: nn.Module) -> int:
    """Along which axis of its output a layer's channels lie."""
    return -1 if isinstance(layer, nn.Linear) else 1


def _statistics(layer: nn.Module, output: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of a layer's output, (channels,) each."""
    rows = output.movedim(_channels(layer), -1).flatten(0, -2)  # (samples and places, channels)
    mean = rows.mean(0)
    return mean, (rows - mean).square_().mean(0).sqrt()  # faster than rows.std(0)


def _beside(value: Tensor, tensor: Tensor, axis: int) -> Tensor:
    """A value for each channel, shaped to act along this axis of a tensor."""
    shape = [1] * tensor.ndim
    shape[axis] = -1
    return value.reshape(shape)


def _run(network: nn.Module, batch: Any, hooks: dict[nn.Module, Callable[..., Any]]) -> None:
    """One pass with these hooks on the outputs of these modules."""
    handles = [module.register_forward_hook(hook) for module, hook in hooks.items()]
    try:
        network(batch)
    finally:
        for handle in handles:
            handle.remove()
