"""What makes a network forget: weights permuted, and what keeps such a control well scaled."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from reprogram.types import InputSpec, Tokens

Layer = nn.Linear | nn.modules.conv._ConvNd


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


def rescale(network: nn.Module, original: nn.Module, batch: Tensor | Tokens) -> None:
    """Bring a permuted network to the original's scale, by what its layers allow.

    Batch-norm statistics are re-estimated (:func:`estimate_norms`); a network without any
    normalisation layer is matched layer by layer (:func:`match_layers`); other normalisations, such
    as a layer-norm, need nothing: their statistics are each sample's own.

    Arguments:
        network: Changed in place.
        original: Of the same architecture.
        batch: Inputs of both.
    """
    device = next(network.parameters(), torch.empty(0)).device
    if isinstance(batch, Tokens):
        position = None if batch.position is None else batch.position.to(device)
        batch = Tokens(batch.values.to(device), batch.mask.to(device), position)
    else:
        batch = batch.to(device)
    modules = [*network.modules()]
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in modules):
        estimate_norms(network, batch)
    elif not any(is_normalisation(module) for module in modules):
        match_layers(network, original, batch)


def is_normalisation(module: nn.Module) -> bool:
    """Whether a layer normalises what passes: torch's own, and those of the same habit of naming.

    Example:
        >>> [is_normalisation(m) for m in (nn.BatchNorm2d(1), nn.LayerNorm(1), nn.Linear(1, 1))]
        [True, True, False]
    """
    return any(re.search(r"Norm(\dd)?$", base.__name__) for base in type(module).__mro__)


def estimate_norms(network: nn.Module, batch: Tensor | Tokens) -> None:
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
def match_layers(network: nn.Module, original: nn.Module, batch: Tensor | Tokens) -> None:
    """Give every linear layer's and convolution's output the original's mean and deviation.

    Without a normalisation layer, permuted weights let a signal die out or blow up within a few
    layers, and a control that is merely deaf proves nothing. So each layer's weight and bias are
    rescaled in the order in which they are met: one pass through each network. A layer without a
    bias gets the standard deviation only.

    Arguments:
        network: Changed in place.
        original: Of the same architecture.
        batch: Inputs of both; mean and deviation are taken over all of it, of a layer as a whole.
    """
    twins = dict(original.named_modules(remove_duplicate=False))
    layers = {name: m for name, m in network.named_modules() if isinstance(m, Layer)}
    told: dict[str, tuple[Tensor, Tensor]] = {}

    def listen(name: str) -> Callable[..., None]:
        def hook(layer: Any, inputs: Any, output: Tensor) -> None:
            del layer, inputs
            told.setdefault(name, (output.mean(), output.std(correction=0)))

        return hook

    def correct(name: str) -> Callable[..., Tensor | None]:
        def hook(layer: Any, inputs: Any, output: Tensor) -> Tensor | None:
            del inputs
            if name not in told:  # met before: corrected already
                return None
            mean, std = told.pop(name)
            own = output.std(correction=0)
            scale = std / own if own > 0 else torch.ones_like(own)
            layer.weight.data *= scale
            if layer.bias is None:
                return scale * output
            shift = mean - scale * output.mean()
            layer.bias.data.mul_(scale).add_(shift)
            return scale * output + shift

        return hook

    _run(original, batch, {twins[name]: listen(name) for name in layers})
    _run(network, batch, {layer: correct(name) for name, layer in layers.items()})


def noise(spec: InputSpec, generator: torch.Generator) -> Tensor | Tokens:
    """64 samples of a door's shape: uniform within finite bounds, else normal."""
    shape = (64, *spec.shape)
    if spec.kind == "tokens":
        ids = torch.randint(int(spec.lower), int(spec.upper) + 1, shape, generator=generator)
        return Tokens(ids, torch.ones(shape))
    if math.isfinite(spec.lower) and math.isfinite(spec.upper):
        values = torch.rand(shape, generator=generator) * (spec.upper - spec.lower) + spec.lower
    else:
        values = torch.randn(shape, generator=generator) * spec.std + spec.mean
    if spec.kind == "embeddings" and len(spec.shape) == 2:
        return Tokens(values, torch.ones(shape[:2]))
    return values


def _run(network: nn.Module, batch: Any, hooks: dict[nn.Module, Callable[..., Any]]) -> None:
    """One pass with these hooks on the outputs of these modules."""
    handles = [module.register_forward_hook(hook) for module, hook in hooks.items()]
    try:
        network(batch)
    finally:
        for handle in handles:
            handle.remove()
