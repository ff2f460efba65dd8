"""BLAS's matrix product for compiled code: of parts of arrays, whose rows need not lie together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import get_cython_function_address, intrinsic


def gemm_address(real: np.dtype) -> int:
    """Return where the BLAS that SciPy brings has its matrix product for this dtype."""
    return get_cython_function_address("scipy.linalg.cython_blas", {"float32": "sgemm", "float64": "dgemm"}[real.name])


def from_instructions(function: Callable) -> Callable:
    """Make a function of compiled code from one that writes its instructions."""
    return intrinsic(function)  # type: ignore[no-any-return]


@from_instructions
def gemm(typing: Any, address: Any, a_T: Any, b_T: Any, m: Any, n: Any, k: Any, a: Any, lda: Any, b: Any, ldb: Any,
         c: Any, ldc: Any) -> Any:  # fmt: skip
    """C (m, n) ← op(A) op(B), in Fortran's order, columns lda, ldb and ldc apart: BLAS's function of that name."""
    byte = ir.IntType(8)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        real = context.get_value_type(c.dtype)

        def kept(value: Any) -> Any:
            return builder.bitcast(cgutils.alloca_once_value(builder, value), byte.as_pointer())

        def passed(kind: Any, value: Any) -> Any:
            if isinstance(kind, types.Array):
                data = context.make_array(kind)(context, builder, value=value).data
                return builder.bitcast(data, byte.as_pointer())
            if kind is types.boolean:
                return kept(builder.select(builder.trunc(value, ir.IntType(1)), byte(ord("T")), byte(ord("N"))))
            return kept(value)  # of 64 bits, whose first half is the number for a BLAS that takes 32

        places = list(map(passed, signature.args[1:], arguments[1:]))
        alpha, beta = kept(real(1.0)), kept(real(0.0))
        places = [*places[:5], alpha, *places[5:9], beta, *places[9:]]
        function = ir.FunctionType(ir.VoidType(), [byte.as_pointer()] * len(places))
        builder.call(builder.inttoptr(arguments[0], function.as_pointer()), places)
        return context.get_dummy_value()

    whole, flag = types.int64, types.boolean
    return types.void(whole, flag, flag, whole, whole, whole, a, whole, b, whole, c, whole), generate
