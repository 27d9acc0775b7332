"""KEDA asks, we answer: an external scaler whose metric is the number of units that should run."""
