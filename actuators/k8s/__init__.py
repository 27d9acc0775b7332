"""Kubernetes runs the units: we write the scale of what runs already, and read its pods."""
