"""Tidegate's brain: request logs in, tide tables out."""

__version__ = "0.1.0"
