"""Configuration: one table of settings drives parsing, the example file and the reference page."""

from forecaster.config.load import load_settings
from forecaster.config.settings import ServiceSettings, Settings
from forecaster.config.unit_types import load_unit_type

__all__ = ["ServiceSettings", "Settings", "load_settings", "load_unit_type"]
