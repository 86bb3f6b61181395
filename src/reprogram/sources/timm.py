"""Image classifiers of the timm library, frozen."""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reprogram.sources.base import TorchSource
from reprogram.sources.images import image_stages
from reprogram.types import OutputSpec, UserError


class TimmClassifier(nn.Module):
    """Normalised images to float32 logits.

    Arguments:
        model: A classifier of the timm library.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    def features(self, x: Float[Tensor, "batch c h w"]) -> Tensor | None:
        """What enters the last layer: (batch, width), where the model shows it."""
        if not hasattr(self.model, "forward_head"):
            return None
        found = self.model.forward_head(self.model.forward_features(x), pre_logits=True)
        return found.float() if found.ndim == 2 else None

    def forward(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch classes"]:
        """(batch, channels, height, width) -> logits (batch, classes)."""
        return self.model(x).float()


def load(name: str) -> TorchSource:
    """The frozen classifier of that name with its published weights, at its door ``image``.

    Doors are ``image`` (values in 0 to 1) and ``normalised``, of the size the weights were trained
    for. Classes have names where timm knows them: those of ImageNet.

    Arguments:
        name: As ``timm.create_model`` takes it, such as ``resnet18.a1_in1k``.

    Raises:
        UserError: if timm cannot be imported, has no such model or no weights for it, they cannot
            be fetched, or the model has no classes.
    """
    timm = _timm(name)
    with torch.random.fork_rng(devices=[]), _weights_only():
        try:
            model = timm.create_model(name, pretrained=True)
        except Exception as error:  # unknown names, downloads, hubs: each fails in its own way
            raise UserError(f"source timm:{name} cannot be loaded: "
                            f"{_reason(timm, name, error)}") from error  # fmt: skip
    if model.num_classes < 2:
        raise UserError(f"source timm:{name} has {model.num_classes} classes; take a classifier")
    settings = timm.data.resolve_model_data_config(model)
    stages = image_stages(
        TimmClassifier(model), shape=tuple(settings["input_size"]),
        mean=settings["mean"], std=settings["std"],
    )  # fmt: skip
    spec = OutputSpec("classes", (model.num_classes,), _names(timm, model))
    return TorchSource(stages, spec, uri=f"timm:{name}")


def _timm(name: str) -> Any:
    try:
        import timm
        import timm.data
    except ModuleNotFoundError as error:
        raise UserError(f"source timm:{name} needs {error.name}, which is not installed: "
                        "pip install 'reprogram[timm]'") from None  # fmt: skip
    except Exception as error:  # torchvision beside another build of torch: RuntimeError
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"source timm:{name} needs timm, which cannot be imported ({reason}); "
            "install the torchvision that was built for your torch"
        ) from error
    return timm


@contextlib.contextmanager
def _weights_only() -> Iterator[None]:
    """Old checkpoints are pickles: torch reads the tensors in them and executes nothing."""
    key = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(key)
    os.environ[key] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[key]
        else:
            os.environ[key] = before


def _reason(timm: Any, name: str, error: Exception) -> str:
    architecture = name.partition(".")[0]
    known = timm.list_models()
    if ":" not in name and architecture not in known:
        close = difflib.get_close_matches(architecture, known, n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        return f"timm has no model of that name{hint}"
    return (str(error).splitlines() or [type(error).__name__])[0]


def _names(timm: Any, model: Any) -> tuple[str, ...]:
    """Names of the classes, or none."""
    names = model.pretrained_cfg.get("label_names")
    if names is None:
        subset = timm.data.infer_imagenet_subset(model)
        if not subset:
            return ()
        info = timm.data.ImageNetInfo(subset)
        names = [info.index_to_description(index) for index in range(model.num_classes)]
    return tuple(names) if len(names) == model.num_classes else ()
