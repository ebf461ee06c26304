"""Times in the bookkeeping tables: UTC, to the microsecond, the same text on every engine."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the present time, aware, in UTC."""
    return datetime.now(UTC)


def timestamp(moment: datetime) -> str:
    """Return the canonical datetime2(6) text of an aware time: ``YYYY-MM-DD HH:MM:SS.ffffff``."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")


def from_database(value: object) -> datetime:
    """Return what a driver gave for a datetime2(6) (text, or naive and in UTC) as an aware time."""
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
