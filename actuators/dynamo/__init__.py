"""NVIDIA Dynamo's planner asks, we propose: a plugin of its PROPOSE stage, over gRPC."""
