"""Image classifiers of the transformers library."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from reprogram.sources.base import Stage
from reprogram.sources.hf.classifier import Classifier
from reprogram.sources.images import image_stages

OPTIONS: dict[str, type] = {}


class ReverseChannels(nn.Module):
    """Red, green, blue to blue, green, red.

    Example:
        >>> import torch
        >>> ReverseChannels()(torch.arange(3.0).reshape(1, 3, 1, 1)).flatten()
        tensor([2., 1., 0.])
    """

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> the same."""
        return x.flip(1)


def stages(model: Any, settings: dict[str, Any]) -> list[Stage]:
    """``image -> normalised -> classes``, as the model's preprocessing file has it.

    Arguments:
        model: An image classifier.
        settings: Of its preprocessing file. Without any, mean and standard deviation are one half.
    """
    config = getattr(model.config, "vision_config", model.config)  # CLIP's half that sees
    channels = getattr(config, "num_channels", 3)
    shape = (channels, *_size(settings, config))
    mean, std = _normalisation(settings, channels)
    network = Classifier(model, model.main_input_name)
    image, normalised = image_stages(network, shape=shape, mean=mean, std=std)
    if settings.get("do_flip_channel_order"):
        image = replace(image, module=nn.Sequential(ReverseChannels(), image.module))
    return [image, normalised]


def _size(settings: dict[str, Any], config: Any) -> tuple[int, int]:
    """Height and width that reach the model: the crop, else the size it resizes to."""
    crop = settings.get("crop_size")
    if not settings.get("do_center_crop", crop is not None):
        crop = None
    size = crop or settings.get("size") or getattr(config, "image_size", None) or 224
    if isinstance(size, dict):
        edge = size.get("shortest_edge", 224)
        return size.get("height", edge), size.get("width", edge)
    if isinstance(size, list | tuple):
        return size[0], size[-1]
    return size, size


def _normalisation(settings: dict[str, Any], channels: int) -> tuple[list[float], list[float]]:
    """One mean and standard deviation a channel, for pixels in 0 to 1.

    Files speak of pixels in 0 to 255, rescaled by a factor (1/255 as a rule) and shifted by -1
    where they say so, then normalised.
    """
    mean, std, scale, shift = [0.0], [1.0], 1.0, 0.0
    # A file that save_pretrained wrote names do_normalize where it is wanted; MobileViT's holds a
    # mean and does not.
    if settings.get("do_normalize", not settings):
        mean = _each(settings.get("image_mean", 0.5))
        std = _each(settings.get("image_std", 0.5))
    if settings.get("do_rescale", True):
        scale = 255 * settings.get("rescale_factor", 1 / 255)
        shift = float(settings.get("rescale_offset") or 0)
    if settings.get("include_top"):  # EfficientNet's checkpoints divide by the deviation twice
        std = [s * t for s, t in zip(std, _each(settings.get("image_std", 0.5)), strict=True)]
    if len(mean) == 1:
        mean = mean * channels
    if len(std) == 1:
        std = std * channels
    # (x scale - shift - m) / s
    return [(m + shift) / scale for m in mean], [s / scale for s in std]


def _each(value: float | list[float]) -> list[float]:
    return list(value) if isinstance(value, list | tuple) else [value]
