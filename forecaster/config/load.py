"""Reading settings: file, then environment; every refusal names key, value, range and remedy."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
)

from forecaster.config.settings import Settings
from forecaster.domain.errors import SettingError

DEFAULT_FILE = "tidegate.toml"
SECRETS = ("webhook", "token", "dsn")
"""Settings whose value is never said, not even where it is refused."""


class _FileThenEnv(Settings):
    """Settings whose constructor arguments are the file: the environment wins over them."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment first, then the file."""
        assert isinstance(env_settings, EnvSettingsSource)
        assert isinstance(init_settings, InitSettingsSource)
        return env_settings, init_settings


def load_settings(file: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read `file` (default ``$TIDEGATE_CONFIG``, else ``./tidegate.toml`` if it exists).

    Raises
    ------
    SettingError
        For a missing or unreadable file and for every setting out of range.
    """
    values = _read(file)
    for key, value in (overrides or {}).items():
        values[key] = value
    try:
        return _FileThenEnv(**values)
    except ValidationError as error:
        raise _setting_error(error) from error


def state_home(settings: Settings) -> Path:
    """Folder of the installation's state: ``TIDEGATE_HOME`` or the user's data folder.

    As root the default is the system's data folder: the embedded database runs as an unprivileged
    user who cannot enter root's own home.
    """
    if settings.home is not None:
        return settings.home.expanduser().resolve()
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/tidegate")
    return Path(platformdirs.user_data_dir("tidegate", appauthor=False))


def _read(file: Path | None) -> dict[str, Any]:
    named = file or (
        Path(os.environ["TIDEGATE_CONFIG"]) if "TIDEGATE_CONFIG" in os.environ else None
    )
    path = named or Path(DEFAULT_FILE)
    if named is None and not path.exists():
        return {}
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise SettingError("config", str(path), "no such file", "name an existing file") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingError("config", str(path), f"unreadable: {error}", "mend the file") from error


def _setting_error(error: ValidationError) -> SettingError:
    """Turn pydantic's first complaint into one line."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"]) or "tidegate.toml"
    if first["type"] == "extra_forbidden":
        return SettingError(
            key, first["input"], "no such setting", "see `tidegate config --example`"
        )
    allowed = first["msg"][0].lower() + first["msg"][1:]
    secret = any(word in key for word in SECRETS)
    return SettingError(
        key, "***" if secret else first["input"], allowed, "see `tidegate config --example`"
    )
