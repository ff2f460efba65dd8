"""`Graph`: an ONNX graph as it is written, node by node."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xbackprop.validation import needed
from xbackprop.version import __version__

#: Of the operators and of the file's format: what the runtimes of 2024 and later read.
OPSET, IR_VERSION, ML_OPSET = 21, 10, 4
#: The dtypes of the standard by ONNX's names of them.
TYPES = {"float32": "FLOAT", "float64": "DOUBLE", "int64": "INT64", "bool": "BOOL", "str": "STRING"}


class Graph:
    """Nodes and constants of a graph. Values are named by strings; `dtype` is that of the numbers in the network."""

    def __init__(self, where: str, dtype: str) -> None:
        self.where, self.dtype = where, dtype
        self.onnx = needed(where, "onnx")
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._named: dict[Any, str] = {}

    def type_of(self, dtype: str) -> int:
        """Return ONNX's number of a dtype."""
        return int(getattr(self.onnx.TensorProto, TYPES[dtype]))

    def constant(self, values: Any, dtype: str | None = None) -> str:
        """Add an array, equal small ones only once; return its name."""
        dtype = dtype or self.dtype
        array = np.asarray(values, dtype=object if dtype == "str" else dtype)
        key = (dtype, array.shape, tuple(array.ravel().tolist())) if array.size < 16 else None
        if key not in self._named:
            name = f"c{len(self.constants)}"
            if dtype == "str":
                texts = [str(text).encode() for text in array.ravel()]
                tensor = self.onnx.helper.make_tensor(name, self.type_of("str"), array.shape, texts)
            else:
                tensor = self.onnx.numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
            self.constants.append(tensor)
            if key is None:
                return name
            self._named[key] = name
        return self._named[key]

    def node(self, operator: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
        """Add a node; return the name of its output, or a list of several."""
        names = [f"v{len(self.nodes)}_{i}" if outputs > 1 else f"v{len(self.nodes)}" for i in range(outputs)]
        self.nodes.append(self.onnx.helper.make_node(operator, list(inputs), names, domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def cast(self, value: str, dtype: str) -> str:
        """Convert a value to a dtype."""
        return str(self.node("Cast", value, to=self.type_of(dtype)))

    def model(
        self,
        inputs: Mapping[str, tuple[str, Sequence[Any]]],
        outputs: Mapping[str, tuple[str, str, Sequence[Any]]],
        about: Mapping[str, Any],
    ) -> Any:
        """Return the checked model.

        inputs : the dtype and shape of each. outputs : for each the value in the graph, its dtype and shape.
        about : facts that the file keeps, as JSON.
        """
        helper = self.onnx.helper
        takes = [helper.make_tensor_value_info(name, self.type_of(d), list(s)) for name, (d, s) in inputs.items()]
        gives = [helper.make_tensor_value_info(name, self.type_of(d), list(s)) for name, (_, d, s) in outputs.items()]
        last = [helper.make_node("Identity", [value], [name]) for name, (value, _, _) in outputs.items()]
        graph = helper.make_graph([*self.nodes, *last], "xbackprop", takes, gives, self.constants)
        domains = {node.domain for node in self.nodes}
        imports = [helper.make_opsetid("", OPSET)]
        imports += [helper.make_opsetid("ai.onnx.ml", ML_OPSET)] if "ai.onnx.ml" in domains else []
        model = helper.make_model(
            graph, opset_imports=imports, ir_version=IR_VERSION, producer_name="xbackprop", producer_version=__version__
        )
        helper.set_model_props(model, {key: json.dumps(value) for key, value in about.items()})
        self.onnx.checker.check_model(model, full_check=True)
        return model
