"""Tensors of the Open Inference Protocol: JSON numbers or raw bytes, to numpy and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from actuators.onnx_tier.jobs import RefusedError
from actuators.onnx_tier.session import ModelSignature
from actuators.onnx_tier.texts import pack_texts, tensor_of, unpack_texts
from actuators.onnx_tier.wire import Tensor

DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "bfloat16": "BF16",
    "float32": "FP32",
    "float64": "FP64",
    "object": "BYTES",
}
"""numpy's names of types to the protocol's."""

_NUMPY = {datatype: np.dtype(name) for name, datatype in DATATYPES.items()}
_PROTOCOL = {dtype: datatype for datatype, dtype in _NUMPY.items()}

Named = list[tuple[str, Tensor]]

HEADER_LENGTH = "inference-header-content-length"
"""Length of the JSON part of a body, where binary tensors follow it."""


def read_inputs(
    body: bytes, header_length: str | None, signature: ModelSignature
) -> tuple[dict[str, Any], Named]:
    """Read the body of an inference request.

    Parameters
    ----------
    body : bytes
        JSON, followed by the binary tensors if there are any.
    header_length : str or None
        Value of ``Inference-Header-Content-Length``.
    signature : ModelSignature
        What the model takes: names, types and numbers of axes are checked against it.

    Returns
    -------
    dict, list of (str, ndarray)
        The JSON object and the inputs.

    Raises
    ------
    RefusedError
        400, naming the input and what is wrong with it.
    """
    data, binary = _split(body, header_length)
    entries = data.get("inputs")
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise _bad("inputs must be a list of tensors")
    outputs = data.get("outputs") or []
    if not isinstance(outputs, list) or not all(isinstance(each, dict) for each in outputs):
        raise _bad("outputs must be a list of objects")
    check_outputs([each.get("name") for each in outputs], signature)
    for each in (data, *outputs):
        parameters_of(each)
    tensors: Named = []
    at = 0
    for entry in entries:
        size = parameters_of(entry).get("binary_data_size")
        raw = None
        if size is not None:
            if type(size) is not int or size < 0 or at + size > len(binary):
                raise _bad(f"input {entry.get('name')!r}: binary_data_size exceeds the body")
            raw, at = binary[at : at + size], at + size
        tensors.append((str(entry.get("name")), _tensor(entry, raw)))
    check_inputs(tensors, signature)
    return data | {"outputs": outputs}, tensors


def write_outputs(data: dict[str, Any], outputs: Named) -> tuple[list[dict[str, Any]], bytes]:
    """Return the JSON entries and the binary part of the answer to request `data`."""
    all_binary = bool(parameters_of(data).get("binary_data_output"))
    asked = {each["name"]: parameters_of(each) for each in data["outputs"]}
    entries: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for name, tensor in outputs:
        entry: dict[str, Any] = {
            "name": name,
            "datatype": _PROTOCOL[tensor.dtype],
            "shape": list(tensor.shape),
        }
        if asked.get(name, {}).get("binary_data", all_binary):
            parts.append(bytes_of(tensor))
            entry["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            entry["data"] = _listed(tensor)
        entries.append(entry)
    return entries, b"".join(parts)


def bytes_of(tensor: Tensor) -> bytes:
    """Return the elements of a tensor as the protocol's binary data."""
    return pack_texts(tensor) if tensor.dtype.kind == "O" else tensor.tobytes()


def _listed(tensor: Tensor) -> list[Any]:
    # JSON knows no bfloat16; every one of them is a float32.
    flat = tensor.astype(np.float32) if tensor.dtype.kind == "V" else tensor
    values: list[Any] = flat.ravel().tolist()
    return values


def _split(body: bytes, header_length: str | None) -> tuple[dict[str, Any], bytes]:
    end = len(body)
    if header_length is not None:
        if not header_length.isdigit() or int(header_length) > len(body):
            raise _bad("Inference-Header-Content-Length exceeds the body")
        end = int(header_length)
    try:
        data = orjson.loads(body[:end])
    except orjson.JSONDecodeError as error:
        raise _bad(f"the body is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise _bad("the body is not a JSON object")
    return data, body[end:]


def write_answer(service: str, data: dict[str, Any], outputs: Named) -> tuple[bytes, bytes]:
    """Return the header lines and the body that answer request `data`.

    Parameters
    ----------
    service : str
        ``name`` or ``name@version``.
    data : dict
        From `read_inputs`.
    outputs : list of (str, ndarray)
        What the model gave.
    """
    name, _, version = service.partition("@")
    head: dict[str, Any] = {"model_name": name, "model_version": version or "1"}
    if "id" in data:
        head["id"] = data["id"]
    head["outputs"], binary = write_outputs(data, outputs)
    text = orjson.dumps(head)
    if not binary:
        return b"content-type: application/json\r\n", text
    kind = b"content-type: application/octet-stream\r\n"
    return kind + f"{HEADER_LENGTH}: {len(text)}\r\n".encode(), text + binary


def parameters_of(holder: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of a request or a tensor; empty where there are none."""
    parameters = holder.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise _bad("parameters must be an object")
    return parameters


def raw_tensor(name: object, datatype: object, shape: object, raw: bytes) -> Tensor:
    """Return the tensor whose elements are `raw`, or refuse it."""
    dtype, sizes = _kind(name, datatype, shape)
    if dtype.kind == "O":
        return _raw_texts(name, sizes, raw)
    wanted = math.prod(sizes) * dtype.itemsize
    if len(raw) != wanted:
        raise _bad(f"input {name!r}: shape {shape} of {datatype} is {wanted} bytes, got {len(raw)}")
    return np.frombuffer(raw, dtype).reshape(sizes)


def listed_tensor(name: object, datatype: object, shape: object, values: object) -> Tensor:
    """Return the tensor whose elements are listed in `values`, or refuse it."""
    dtype, sizes = _kind(name, datatype, shape)
    try:
        value = np.asarray(_decoded(values) if dtype.kind == "O" else values, dtype)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _bad(f"input {name!r}: data is no {datatype} tensor") from error
    if value.size != math.prod(sizes):
        raise _bad(
            f"input {name!r}: shape {shape} needs {math.prod(sizes)} values, got {value.size}"
        )
    return value.reshape(sizes)


def _raw_texts(name: object, sizes: list[int], raw: bytes) -> Tensor:
    count = math.prod(sizes)
    if 4 * count > len(raw):
        raise _bad(f"input {name!r}: {count} texts need {4 * count} bytes or more, got {len(raw)}")
    try:
        texts, end = unpack_texts(raw, count)
    except ValueError as error:
        raise _bad(f"input {name!r}: {error}") from error
    if end != len(raw):
        raise _bad(f"input {name!r}: {len(raw) - end} bytes follow its {count} texts")
    return tensor_of(texts, sizes)


def _decoded(values: object) -> list[str]:
    """Return the texts of a list, however deep, row by row; those that came as bytes decoded."""
    if isinstance(values, str | bytes):
        return [values if isinstance(values, str) else values.decode()]
    if not isinstance(values, list):
        raise TypeError("a tensor of texts holds only texts")
    return [text for each in values for text in _decoded(each)]


def datatype_of(dtype: str) -> str:
    """Return the protocol's name of a numpy type.

    Examples
    --------
    >>> datatype_of("float32")
    'FP32'
    """
    return DATATYPES.get(dtype, dtype)


def check_outputs(names: Sequence[object], signature: ModelSignature) -> None:
    """Refuse outputs that the model does not have."""
    known = {each.name for each in signature.outputs}
    for name in names:
        if not isinstance(name, str) or name not in known:
            raise _bad(f"output {name!r} does not exist; outputs are {sorted(known)}")


def check_inputs(tensors: Named, signature: ModelSignature) -> None:
    """Refuse inputs that are not the model's: other names, types or shapes."""
    given = dict(tensors)
    expected = {each.name: each for each in signature.inputs}
    if given.keys() != expected.keys() or len(given) != len(tensors):
        raise _bad(f"inputs must be {sorted(expected)}, got {sorted(given)}")
    for name, tensor in tensors:
        spec = expected[name]
        if _PROTOCOL[tensor.dtype] != datatype_of(spec.dtype):
            raise _bad(f"input {name!r} must be {datatype_of(spec.dtype)}")
        if tensor.size == 0 or not _fits(tensor.shape, spec.shape):
            raise _bad(
                f"input {name!r} must have shape {list(spec.shape)}, got {list(tensor.shape)}"
            )


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        stated in (-1, size) for size, stated in zip(shape, wanted, strict=True)
    )


def _tensor(entry: dict[str, Any], raw: bytes | None) -> Tensor:
    name, datatype, shape = entry.get("name"), entry.get("datatype"), entry.get("shape")
    if raw is not None:
        return raw_tensor(name, datatype, shape, raw)
    return listed_tensor(name, datatype, shape, entry.get("data"))


def _kind(name: object, datatype: object, shape: object) -> tuple[np.dtype[Any], list[int]]:
    dtype = _NUMPY.get(datatype) if isinstance(datatype, str) else None
    if dtype is None:
        raise _bad(f"input {name!r}: datatype {datatype!r} is not one of {sorted(_NUMPY)}")
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise _bad(f"input {name!r}: shape must be a list of sizes")
    return dtype, shape


def _bad(message: str) -> RefusedError:
    return RefusedError(400, message, "invalid_request")
