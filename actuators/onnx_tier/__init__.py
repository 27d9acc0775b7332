"""The embedded serving tier: real ONNX Runtime units behind a router, warmed and drained on order."""

import os

# ONNX Runtime reports its use to its maker unless told otherwise before it is imported, from a thread
# and a database of its own, which no forked unit should inherit. Whoever wants that sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
