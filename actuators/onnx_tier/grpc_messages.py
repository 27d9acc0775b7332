"""Messages of the Open Inference Protocol's gRPC half, as one table of fields.

Written from the protocol's public text. Descriptors are built when the module is imported, in a pool of
their own: a client library in the same process may register the same names.
"""

from __future__ import annotations

import re
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"

_TABLE = """
ServerLiveRequest:
ServerLiveResponse: 1 bool live
ServerReadyRequest:
ServerReadyResponse: 1 bool ready
ModelReadyRequest: 1 string name, 2 string version
ModelReadyResponse: 1 bool ready
ServerMetadataRequest:
ServerMetadataResponse: 1 string name, 2 string version, 3 string* extensions
ModelMetadataRequest: 1 string name, 2 string version
ModelMetadataResponse.TensorMetadata: 1 string name, 2 string datatype, 3 int64* shape
ModelMetadataResponse: 1 string name, 2 string* versions, 3 string platform,
  4 ModelMetadataResponse.TensorMetadata* inputs, 5 ModelMetadataResponse.TensorMetadata* outputs
InferParameter: 1 bool bool_param, 2 int64 int64_param, 3 string string_param,
  4 double double_param, 5 uint64 uint64_param | parameter_choice
InferTensorContents: 1 bool* bool_contents, 2 int32* int_contents, 3 int64* int64_contents,
  4 uint32* uint_contents, 5 uint64* uint64_contents, 6 float* fp32_contents,
  7 double* fp64_contents, 8 bytes* bytes_contents
ModelInferRequest.InferInputTensor: 1 string name, 2 string datatype, 3 int64* shape,
  4 InferParameter% parameters, 5 InferTensorContents contents
ModelInferRequest.InferRequestedOutputTensor: 1 string name, 2 InferParameter% parameters
ModelInferRequest: 1 string model_name, 2 string model_version, 3 string id,
  4 InferParameter% parameters, 5 ModelInferRequest.InferInputTensor* inputs,
  6 ModelInferRequest.InferRequestedOutputTensor* outputs, 7 bytes* raw_input_contents
ModelInferResponse.InferOutputTensor: 1 string name, 2 string datatype, 3 int64* shape,
  4 InferParameter% parameters, 5 InferTensorContents contents
ModelInferResponse: 1 string model_name, 2 string model_version, 3 string id,
  4 InferParameter% parameters, 5 ModelInferResponse.InferOutputTensor* outputs,
  6 bytes* raw_output_contents
ModelRepositoryParameter: 1 bool bool_param, 2 int64 int64_param, 3 string string_param,
  4 bytes bytes_param | parameter_choice
RepositoryIndexRequest: 1 string repository_name, 2 bool ready
RepositoryIndexResponse.ModelIndex: 1 string name, 2 string version, 3 string state, 4 string reason
RepositoryIndexResponse: 1 RepositoryIndexResponse.ModelIndex* models
RepositoryModelLoadRequest: 1 string repository_name, 2 string model_name,
  3 ModelRepositoryParameter% parameters
RepositoryModelLoadResponse:
RepositoryModelUnloadRequest: 1 string repository_name, 2 string model_name,
  3 ModelRepositoryParameter% parameters
RepositoryModelUnloadResponse:
"""
"""``Message: number type name, ...``; ``*`` repeats, ``%`` maps from a string, ``| name`` is a oneof."""

METHODS = (
    "ServerLive",
    "ServerReady",
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "ModelInfer",
    "RepositoryIndex",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
)
"""Each takes ``<name>Request`` and answers ``<name>Response``."""

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    name: getattr(_Field, f"TYPE_{name.upper()}")
    for name in ("bool", "string", "bytes", "double", "float", "int32", "int64", "uint32", "uint64")
}


def message_class(name: str) -> Any:
    """Return the class of a message of the table."""
    return _CLASSES[name]


def _file() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="tidegate/open_inference.proto", package=PACKAGE, syntax="proto3"
    )
    made: dict[str, Any] = {}
    rows = re.sub(r",\n\s+", ", ", _TABLE.strip()).split("\n")
    # A parent is made before the messages that it holds.
    for row in sorted(rows, key=lambda each: each.split(":")[0].count(".")):
        name, _, rest = row.partition(":")
        parent, _, leaf = name.rpartition(".")
        made[name] = (made[parent].nested_type if parent else file.message_type).add(name=leaf)
        fields, _, choice = rest.partition("|")
        if choice:
            made[name].oneof_decl.add(name=choice.strip())
        for entry in filter(None, map(str.strip, fields.split(","))):
            _add_field(made[name], name, entry, bool(choice))
    return file


def _add_field(message: Any, owner: str, entry: str, in_choice: bool) -> None:
    number, kind, name = entry.split()
    field = message.field.add(name=name, number=int(number), label=_Field.LABEL_OPTIONAL)
    if kind.endswith(("*", "%")):
        field.label = _Field.LABEL_REPEATED
    if kind.endswith("%"):
        holder = message.nested_type.add(name="".join(map(str.title, name.split("_"))) + "Entry")
        holder.options.map_entry = True
        key = holder.field.add(name="key", number=1, label=_Field.LABEL_OPTIONAL)
        _set_type(key, "string")
        value = holder.field.add(name="value", number=2, label=_Field.LABEL_OPTIONAL)
        _set_type(value, kind[:-1])
        kind = f"{owner}.{holder.name}"
    _set_type(field, kind.rstrip("*"))
    if in_choice:
        field.oneof_index = 0


def _set_type(field: Any, kind: str) -> None:
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = _Field.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{kind}"


def _classes() -> dict[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    file = _file()
    pool.Add(file)
    return {
        each.name: message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"{PACKAGE}.{each.name}")
        )
        for each in file.message_type
    }


_CLASSES = _classes()
