"""Capacity: how many units carry a load inside an SLO, and which part of it binds. Pure."""
