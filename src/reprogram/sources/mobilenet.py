"""MobileNets for ImageNet, in float32, from their quantised TFLite files."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reprogram.sources.base import TorchSource
from reprogram.sources.images import image_source
from reprogram.sources.tflite import Graph, Operator
from reprogram.types import UserError


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's ``SAME``: the odd pixel goes to the right and below.

    Arguments:
        channels: Of the input.
        width: Of the output.
        kernel: Height and width.
        stride: Likewise. The output has the input's size over it, rounded up.
        groups: ``channels`` for a depthwise convolution.

    Example:
        >>> SameConv2d(3, 8, (3, 3), stride=(2, 2))(torch.zeros(1, 3, 15, 20)).shape
        torch.Size([1, 8, 8, 10])
    """

    def __init__(
        self, channels: int, width: int, kernel: tuple[int, int], *,
        stride: tuple[int, int] = (1, 1), groups: int = 1,
    ) -> None:  # fmt: skip
        super().__init__(channels, width, kernel, stride=stride, groups=groups)

    def forward(self, input: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch k i j"]:
        """(batch, channels, height, width) -> (batch, width, height / stride, width / stride)."""
        (top, bottom), (left, right) = (
            _same(size, kernel, stride)
            for size, kernel, stride in zip(
                input.shape[2:], self.kernel_size, self.stride, strict=True
            )
        )
        padding = (top, left)
        if (top, left) != (bottom, right):
            input, padding = nn.functional.pad(input, (left, right, top, bottom)), (0, 0)
        return nn.functional.conv2d(
            input, self.weight, self.bias, self.stride, padding, groups=self.groups
        )


class Add(nn.Module):
    """The sum of two tensors: the shortcut of an inverted residual."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Two of a shape -> their sum."""
        return x + y


class GraphNetwork(nn.Module):
    """The network that a TFLite graph describes, up to the logits: its softmax is left out.

    Its weights have their batch-norms folded in, so it has biases and no normalisation layer.
    Everything is laid out channels last, which suits a CPU better.

    Arguments:
        graph: Of :func:`~reprogram.sources.tflite.read_tflite`.

    Raises:
        UserError: if the graph has an operator or a setting that is not supported here.

    References:
        | MobileNets (Howard et al., 2017), arXiv 1704.04861
        | MobileNetV2: inverted residuals and linear bottlenecks (Sandler, Howard, Zhu, Zhmoginov,
          Chen, 2018), arXiv 1801.04381
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        operators = graph.operators
        if operators[-1].kind == "SOFTMAX":
            operators = operators[:-1]
        self.layers = nn.ModuleList(_layer(operator) for operator in operators)
        self.taken = tuple(operator.inputs for operator in operators)
        self.given = tuple(operator.output for operator in operators)
        self.entrance = graph.input
        self.last = max(i for i, layer in enumerate(self.layers) if [*layer.parameters()])
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def features(self, x: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch width"]:
        """What enters the last layer: the mean over all places."""
        return self._run(x, self.last).flatten(1)

    def forward(self, x: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch classes"]:
        """(batch, 3, height, width), normalised -> logits (batch, classes)."""
        return self._run(x, len(self.layers))

    def _run(self, x: Tensor, end: int) -> Tensor:
        """What layer ``end`` would take, or the last one gives."""
        values = {self.entrance: x.contiguous(memory_format=torch.channels_last)}
        for index in range(end):
            taken, given = self.taken[index], self.given[index]
            x = self.layers[index](*(values[i] for i in taken))
            later = {i for after in self.taken[index + 1 :] for i in after}
            values = {i: value for i, value in values.items() if i in later} | {given: x}
        return x


def mobilenet_source(graph: Graph, names: Sequence[str], *, uri: str | None = None) -> TorchSource:
    """The network behind its normalisation, frozen, with the doors ``image`` and ``normalised``.

    Arguments:
        graph: Of :func:`~reprogram.sources.tflite.read_tflite`.
        names: Names of its classes, in order.
        uri: Under which name a saved program finds it again.
    """
    height, width, channels = graph.shape
    # A pixel p in [0, 1] is quantised as 255 p: it stands for scale (255 p - zero point).
    mean, std = graph.zero_point / 255, 1 / (255 * graph.scale)
    return image_source(
        GraphNetwork(graph), names, shape=(channels, height, width),
        mean=[mean] * channels, std=[std] * channels, uri=uri,
    )  # fmt: skip


def _layer(operator: Operator) -> nn.Module:
    """The module that computes an operator."""
    if operator.kind not in _MODULES:
        raise UserError(f"TFLite operator {operator.kind} stands inside the network; "
                        f"supported there are {', '.join(_MODULES)}")  # fmt: skip
    layer = _MODULES[operator.kind](operator)
    activation = operator.options.get("activation", "NONE")
    if activation not in _ACTIVATIONS:
        raise UserError(f"TFLite activation {activation} is not supported; supported are "
                        f"{', '.join(_ACTIVATIONS)}")  # fmt: skip
    clip = _ACTIVATIONS[activation]
    return nn.Sequential(layer, clip(inplace=True)) if clip else layer


def _convolution(operator: Operator) -> nn.Module:
    kernel, bias = operator.constants  # (out, height, width, in), (out,)
    if operator.options["padding"] != "SAME" and kernel.shape[1:3] != (1, 1):
        raise UserError(f"a TFLite convolution has padding {operator.options['padding']}; "
                        "SAME is supported")  # fmt: skip
    if operator.options["dilation"] != (1, 1):
        raise UserError(f"a TFLite convolution has dilation {operator.options['dilation']}; "
                        "(1, 1) is supported")  # fmt: skip
    depthwise = operator.kind == "DEPTHWISE_CONV_2D"
    weight = kernel.permute(3, 0, 1, 2) if depthwise else kernel.permute(0, 3, 1, 2)
    width, channels, *size = weight.shape
    layer = SameConv2d(
        width if depthwise else channels, width, (size[0], size[1]),
        stride=operator.options["stride"], groups=width if depthwise else 1,
    )  # fmt: skip
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Pixels before and after."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _pool(operator: Operator) -> nn.Module:
    if operator.options["padding"] != "VALID":
        raise UserError(f"a TFLite pooling has padding {operator.options['padding']}; "
                        "VALID is supported")  # fmt: skip
    return nn.AvgPool2d(operator.options["window"], operator.options["stride"])


_MODULES: dict[str, Callable[[Operator], nn.Module]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "AVERAGE_POOL_2D": _pool,
    "ADD": lambda operator: Add(),
    "RESHAPE": lambda operator: nn.Flatten(1),
}
_ACTIVATIONS: dict[str, type[nn.ReLU6 | nn.ReLU] | None] = {
    "NONE": None,
    "RELU": nn.ReLU,
    "RELU6": nn.ReLU6,
}
