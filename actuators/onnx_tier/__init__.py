"""The embedded serving tier: real ONNX Runtime units behind a router, warmed and drained on order."""
