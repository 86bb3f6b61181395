"""TFLite files as lists of operators with float32 tensors: quantised weights are dequantised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reprogram.types import UserError


@dataclass(frozen=True)
class Operator:
    """One operator of a graph.

    Arguments:
        kind: Its name in the format, such as ``CONV_2D``.
        inputs: Which tensors it takes, the constant ones left out.
        output: Which tensor it gives.
        constants: Its constant inputs in order, such as kernel and bias, in real numbers and in the
            file's own layout: kernels as (out, height, width, in), depthwise (1, height, width,
            out).
        options: Its settings by name: ``stride``, ``dilation`` and ``window`` as (height, width),
            ``padding``, ``activation``.
    """

    kind: str
    inputs: tuple[int, ...]
    output: int
    constants: tuple[Tensor, ...]
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Graph:
    """A network of one input and one output.

    Arguments:
        operators: In the order in which they are computed.
        input: Which tensor enters.
        output: Which tensor leaves.
        shape: Height, width and channels of one image.
        scale: Real value of one step of the quantised input.
        zero_point: The step that stands for zero.
    """

    operators: tuple[Operator, ...]
    input: int
    output: int
    shape: tuple[int, int, int]
    scale: float
    zero_point: int


def read_tflite(data: bytes) -> Graph:
    """The network in a TFLite file of images, its tensors dequantised: scale (q - zero point).

    Arguments:
        data: The file.

    Raises:
        UserError: if the packages that read the format are missing, the file is damaged or not in
            the format, or holds what no image network here needs.

    Example:
        >>> read_tflite(b"no such format")
        Traceback (most recent call last):
        ...
        reprogram.types.UserError: file is not in TFLite format: it has no mark 'TFL3'; ...
    """
    if data[4:8] != b"TFL3":
        raise UserError("file is not in TFLite format: it has no mark 'TFL3'; give a .tflite file")
    try:
        import tflite
    except ModuleNotFoundError as error:
        raise UserError(f"reading TFLite weights needs {error.name}, which is not installed: "
                        "pip install 'reprogram[vision]'") from None  # fmt: skip
    try:
        return _graph(tflite, tflite.Model.GetRootAs(data, 0))
    except UserError:
        raise
    except Exception as error:  # offsets that lead nowhere fail in many ways
        raise UserError("file is a damaged TFLite file; delete it, and it is downloaded again, or "
                        "replace it with the published one") from error  # fmt: skip


def _graph(tflite: ModuleType, model: Any) -> Graph:
    if model.SubgraphsLength() != 1:
        raise UserError(f"TFLite file holds {model.SubgraphsLength()} graphs; one is read")
    graph = model.Subgraphs(0)
    inputs, outputs = graph.InputsAsNumpy(), graph.OutputsAsNumpy()
    if len(inputs) != 1 or len(outputs) != 1:
        raise UserError(f"TFLite network has {len(inputs)} inputs and {len(outputs)} outputs; "
                        "networks of one each are read")  # fmt: skip
    entering = graph.Tensors(inputs[0])
    _, height, width, channels = map(int, entering.ShapeAsNumpy())
    scale, zero_point = _quantisation(entering)
    names = {value: name for name, value in vars(tflite.BuiltinOperator).items()}
    operators = []
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        code = model.OperatorCodes(operator.OpcodeIndex())
        # An old file has the first only, and a new one sets the larger of the two.
        kind = names[max(code.DeprecatedBuiltinCode(), code.BuiltinCode())]
        taken = [int(i) for i in operator.InputsAsNumpy()]
        constant = [i for i in taken if model.Buffers(graph.Tensors(i).Buffer()).DataLength()]
        operators.append(
            Operator(
                kind=kind,
                inputs=tuple(i for i in taken if i not in constant),
                output=int(operator.OutputsAsNumpy()[0]),
                constants=tuple(_constant(tflite, model, graph.Tensors(i)) for i in constant),
                options=_options(tflite, kind, operator.BuiltinOptions()),
            )
        )
    shape = (height, width, channels)
    return Graph(tuple(operators), int(inputs[0]), int(outputs[0]), shape, scale, zero_point)


def _constant(tflite: ModuleType, model: Any, tensor: Any) -> Tensor:
    """A constant tensor in real numbers, or a list of whole ones such as a shape."""
    types = {
        tflite.TensorType.FLOAT32: "<f4",
        tflite.TensorType.UINT8: "u1",
        tflite.TensorType.INT32: "<i4",
    }
    if tensor.Type() not in types:
        raise UserError(f"TFLite tensor {tensor.Name().decode()!r} is of type {tensor.Type()}; "
                        "float32, uint8 and int32 are read")  # fmt: skip
    raw = model.Buffers(tensor.Buffer()).DataAsNumpy().tobytes()
    value = np.frombuffer(raw, types[tensor.Type()]).reshape(tensor.ShapeAsNumpy())
    quantisation = tensor.Quantization()
    if quantisation is None or quantisation.ScaleLength() == 0:
        return torch.from_numpy(value.copy())
    scale, zero_point = _quantisation(tensor)
    real = scale * (value.astype(np.float64) - zero_point)
    return torch.from_numpy(real.astype(np.float32))


def _quantisation(tensor: Any) -> tuple[float, int]:
    """Scale and zero point of a tensor that has one of each."""
    quantisation = tensor.Quantization()
    count = quantisation.ScaleLength()
    if count != 1:
        raise UserError(f"TFLite tensor {tensor.Name().decode()!r} has {count} scales; tensors "
                        "quantised as a whole are read")  # fmt: skip
    return float(quantisation.Scale(0)), int(quantisation.ZeroPoint(0))


def _options(tflite: ModuleType, kind: str, table: Any) -> dict[str, Any]:
    """The settings of the operators that image networks are made of."""
    if kind in ("RESHAPE", "SOFTMAX"):
        return {}
    tables = {
        "CONV_2D": tflite.Conv2DOptions,
        "DEPTHWISE_CONV_2D": tflite.DepthwiseConv2DOptions,
        "AVERAGE_POOL_2D": tflite.Pool2DOptions,
        "ADD": tflite.AddOptions,
    }
    if kind not in tables:
        known = ", ".join([*tables, "RESHAPE", "SOFTMAX"])
        raise UserError(f"TFLite operator {kind} is not supported; supported are {known}")
    found = tables[kind]()
    found.Init(table.Bytes, table.Pos)
    activations = {v: name for name, v in vars(tflite.ActivationFunctionType).items()}
    options: dict[str, Any] = {"activation": activations[found.FusedActivationFunction()]}
    if kind == "ADD":
        return options
    options["stride"] = (found.StrideH(), found.StrideW())
    options["padding"] = "SAME" if found.Padding() == tflite.Padding.SAME else "VALID"
    if kind == "AVERAGE_POOL_2D":
        options["window"] = (found.FilterHeight(), found.FilterWidth())
    else:
        options["dilation"] = (found.DilationHFactor(), found.DilationWFactor())
    return options
