"""Replay: logs and samples played against a tier, real or simulated."""
