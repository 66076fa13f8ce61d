"""What several commands take: files, times and time spans, pairs, and the settings of this environment."""

import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from kalguard import config
from kalguard.config import Settings
from kalguard.errors import ConfigError

FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
_DURATION = re.compile(r"([0-9]{1,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Duration(click.ParamType[int]):
    """A time span such as 90s, 15m, 1h, 30d -> seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the text. Fails with a usage error."""
        match = _DURATION.fullmatch(str(value))
        if match is None or int(match[1]) == 0:
            self.fail(f"`{value}` is not a time span such as 90s, 15m, 1h or 30d", param, ctx)
        return int(match[1]) * _SECONDS[match[2]]


class Pair(click.ParamType[tuple[str, str]]):
    """KEY=VALUE -> (key, value)."""

    name = "KEY=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Read the text. Fails with a usage error."""
        key, equals, rest = str(value).partition("=")
        if not key or not equals:
            self.fail(f"`{value}` is not KEY=VALUE", param, ctx)
        return key, rest


class Moment(click.ParamType[datetime]):
    """A time as RFC 3339, or a time span before now -> aware UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read the text. Fails with a usage error."""
        try:
            return _moment(str(value))
        except (ValueError, OverflowError):
            allowed = "neither a time such as 2026-01-31T12:00:00Z nor a time span such as 2h"
            self.fail(f"`{value}` is {allowed}", param, ctx)


def _moment(text: str) -> datetime:
    if match := _DURATION.fullmatch(text):
        return datetime.now(UTC) - timedelta(seconds=int(match[1]) * _SECONDS[match[2]])
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError
    return at.astimezone(UTC)


def settings() -> Settings:
    """The settings of this environment, or a usage error that names the variables."""
    try:
        return config.load(os.environ).settings
    except ConfigError as error:
        raise click.UsageError("; ".join(error.problems)) from None
