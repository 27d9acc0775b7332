"""Messages of KEDA's external scaler, written from the protocol's public text (package `externalscaler`)."""

from __future__ import annotations

from typing import Any

from forecaster.domain.proto_table import message_classes

PACKAGE = "externalscaler"
SERVICE = f"{PACKAGE}.ExternalScaler"
_TABLE = """
ScaledObjectRef: 1 string name, 2 string namespace, 3 string% scalerMetadata
IsActiveResponse: 1 bool result
MetricSpec: 1 string metricName, 2 int64 targetSize, 3 double targetSizeFloat
GetMetricSpecResponse: 1 MetricSpec* metricSpecs
GetMetricsRequest: 1 ScaledObjectRef scaledObjectRef, 2 string metricName
MetricValue: 1 string metricName, 2 int64 metricValue, 3 double metricValueFloat
GetMetricsResponse: 1 MetricValue* metricValues
"""

_CLASSES = message_classes(PACKAGE, "tidegate/externalscaler.proto", _TABLE)


def message_class(name: str) -> Any:
    """Return the class of a message of the protocol."""
    return _CLASSES[name]
