"""Graph: an ONNX graph that grows by one operator per call, and what several of our layers are made of.

`graph.MatMul(a, b)` adds a node and gives its output; every output is named by a string. Values of Python and
tensors become constants where they are given as inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

Value = str
"""The name of a tensor in the graph."""

Operand = Value | int | float | list[int] | NDArray[Any]
"""What an operator takes: a tensor of the graph or a constant; ints are int64, floats are float32."""

TO_THE_END = np.iinfo(np.int64).max


class Graph:
    """Nodes, constants and parameters of one ONNX graph, or of the body of a loop in it."""

    def __init__(self, opset: int, outer: Graph | None = None) -> None:
        """Begin empty.

        Args:
            opset: decides how some operators take their arguments.
            outer: the graph that this one is a loop's body in; it may use all that is computed there.
        """
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        # One list of constants and one count of names for a graph and all its loops.
        self.initializers: list[TensorProto] = [] if outer is None else outer.initializers
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Value] = (
            {} if outer is None else outer._constants
        )
        self._parameters: dict[str, Value] = {}
        self._outer = outer
        self._count: list[int] = [0] if outer is None else outer._count

    def __getattr__(self, operator: str) -> Callable[..., Value]:
        """The operator of this name, as a function of its inputs and attributes that gives its output."""
        if not operator[0].isupper():
            raise AttributeError(f"{operator} is no ONNX operator")
        return partial(self._add, operator)

    def _add(self, operator: str, *inputs: Operand, **attributes: Any) -> Value:
        name = self.name(operator)
        self.nodes.append(helper.make_node(operator, [*map(self.value, inputs)], [name], **attributes))
        return name

    def name(self, what: str) -> Value:
        """A new name."""
        self._count[0] += 1
        return f"{what}_{self._count[0]}"

    def value(self, operand: Operand) -> Value:
        """The name of an operand; a constant is added the first time that it is used."""
        if isinstance(operand, str):
            return operand
        array = np.asarray(operand, np.float32 if isinstance(operand, float) else None)
        if array.dtype.kind == "i":
            array = array.astype(np.int64)  # not everywhere what Python's numbers become
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.name("constant")
            self.initializers.append(numpy_helper.from_array(array, self._constants[key]))
        return self._constants[key]

    def parameter(self, name: str, tensor: Tensor, *, half: bool = False) -> Value:
        """A parameter of the network, added the first time that it is used; `half`: held as float16."""
        if self._outer is not None:  # a loop computes anew each time whatever stands in its body
            return self._outer.parameter(name, tensor, half=half)
        if name not in self._parameters:
            array = tensor.detach().to(torch.float16 if half else torch.float32).numpy()
            self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
            self._parameters[name] = self.Cast(name, to=TensorProto.FLOAT) if half else name
        return self._parameters[name]

    def rename(self, value: Value, name: str) -> None:
        """Give a tensor the name that it is to have outside."""
        for node in self.nodes:
            if value in node.output:
                node.output[:] = [name if one == value else one for one in node.output]
                return
        raise AssertionError(f"no operator gives {value}")

    # What needs more than one operator, or differs between the versions of the operators.

    def size(self, value: Value, axis: int) -> Value:
        """The length of one axis, as a list of one."""
        return self.Shape(value, start=axis, end=axis + 1)

    def list(self, *numbers: Operand) -> Value:
        """Lists of one, and numbers, as one list."""
        return self.Concat(*([one] if isinstance(one, int) else one for one in numbers), axis=0)

    def reshape(self, value: Value, *shape: Operand) -> Value:
        """As `list`; 0 keeps an axis, -1 is what is left."""
        if all(isinstance(one, int) for one in shape):
            return self.Reshape(value, [*shape])
        return self.Reshape(value, self.list(*shape))

    def rows(self, value: Value, start: Operand, stop: Operand, axis: int = 0) -> Value:
        """A slice along one axis; start and stop are lists of one."""
        return self.Slice(value, start, stop, [axis])

    def mean(self, value: Value, axis: int) -> Value:
        """The mean along one axis, which stays with length 1."""
        if self.opset < 18:
            return self.ReduceMean(value, axes=[axis], keepdims=1)
        return self.ReduceMean(value, [axis], keepdims=1)

    def top(self, values: Value, count: Value) -> tuple[Value, Value]:
        """The `count` greatest of a list, the greatest first, and their places."""
        best, places = self.name("best"), self.name("places")
        self.nodes.append(helper.make_node("TopK", [values, count], [best, places], axis=0))
        return best, places

    def gelu(self, value: Value) -> Value:
        """The exact one. ONNX Runtime recognises it and computes it in one step."""
        inner = self.Add(self.Erf(self.Div(value, math.sqrt(2))), 1.0)
        return self.Mul(self.Mul(value, inner), 0.5)

    def resize(self, value: Value, sizes: Value, mode: str) -> Value:
        """(1, C, h, w) -> sizes, as `torch.nn.functional.interpolate` with `align_corners=False`."""
        attributes: dict[str, object] = {"cubic_coeff_a": -0.75} if mode == "cubic" else {}
        return self.Resize(
            value, "", "", sizes, mode=mode, coordinate_transformation_mode="half_pixel", **attributes
        )

    def loop(self, times: Value, step: Callable[[Graph, Value], Value], rank: int = 3) -> Value:
        """What `step(body, number)` gives for 0 ... times - 1, stacked along a new first axis.

        Args:
            times: a scalar, 1 or more.
            step: adds to the body of the loop; all results have one shape,
            rank: of that many axes.
        """
        body = Graph(self.opset, self)
        number, go_on = body.name("number"), body.name("go_on")
        result = step(body, number)
        still = body.Identity(go_on)
        proto = helper.make_graph(
            body.nodes,
            self.name("body"),
            [
                helper.make_tensor_value_info(number, TensorProto.INT64, []),
                helper.make_tensor_value_info(go_on, TensorProto.BOOL, []),
            ],
            [
                helper.make_tensor_value_info(still, TensorProto.BOOL, []),
                helper.make_tensor_value_info(result, TensorProto.FLOAT, [None] * rank),
            ],
        )
        return self.Loop(times, "", body=proto)
