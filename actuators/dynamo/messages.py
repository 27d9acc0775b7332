"""What we use of Dynamo's planner plugin protocol, from its public text (`dynamo.planner.plugin.v1`).

What a planner sends beyond it (traffic, metrics of single passes, predictions) is read over. An answer's result is
a oneof there and plain fields here: the bytes are the same. `OverrideType` is an enum there: SET is 0.
"""

from __future__ import annotations

from typing import Any

from forecaster.domain.proto_table import message_classes

PACKAGE = "dynamo.planner.plugin.v1"
PROPOSE = f"{PACKAGE}.ProposePlugin"
LIFECYCLE = f"{PACKAGE}.PluginLifecycle"
_TABLE = """
WorkerState: 1 int32? ready_prefill, 2 int32? ready_decode, 3 int32? expected_prefill, 4 int32? expected_decode
ObservationData: 3 WorkerState workers
PipelineContext: 1 string request_id, 2 string decision_id, 3 ObservationData observations
ProposeStageRequest: 1 PipelineContext context
ComponentTarget: 1 string sub_component_type, 3 int32? replicas, 4 int32 type
OverrideResult: 1 ComponentTarget* targets, 2 string reason
ProposeStageResponse: 2 OverrideResult override, 4 bool final
BootstrapRequest: 1 bytes bootstrap_data, 2 string% hints
BootstrapResponse: 1 bool ok, 2 string message
ResetRequest: 1 string reason
ResetResponse: 1 bool ok, 2 string message
"""

_CLASSES = message_classes(PACKAGE, "tidegate/dynamo_plugin.proto", _TABLE)


def message_class(name: str) -> Any:
    """Return the class of a message of the protocol."""
    return _CLASSES[name]
