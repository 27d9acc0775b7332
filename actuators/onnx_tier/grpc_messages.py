"""Messages of the Open Inference Protocol's gRPC half, as one table of fields.

Written from the protocol's public text.
"""

from __future__ import annotations

from typing import Any

from forecaster.domain.proto_table import message_classes

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

_CLASSES = message_classes(PACKAGE, "tidegate/open_inference.proto", _TABLE)


def message_class(name: str) -> Any:
    """Return the class of a message of the table."""
    return _CLASSES[name]
