"""Opens databases as the settings say: the one place where settings become an engine's options."""

from __future__ import annotations

from xml_extractor.engines import open_engine
from xml_extractor.engines.base import Engine, EngineOptions, TimeLimits
from xml_extractor.settings import LoadOptions
from xml_extractor.target import open_target
from xml_extractor.target.base import Target


def source_engine(url: str, options: LoadOptions) -> Engine:
    """Return the engine of the source; connects to nothing.

    Raises:
        UsageError: the URL is not one that can be used.
    """
    return open_engine(
        url,
        options=EngineOptions(
            limits=_limits(options), read_only_intent=options.read_only_intent, snapshot=options.snapshot
        ),
    )


def target_options(options: LoadOptions) -> EngineOptions:
    """Return how a target is to be used."""
    return EngineOptions(
        limits=_limits(options),
        schema=options.target_schema,
        insert_path=options.insert_path.value,
        batch_documents=options.batch_size,
        avoid_lock_escalation=options.avoid_lock_escalation,
    )


def target_engine(url: str, options: LoadOptions) -> Engine:
    """Return the engine of a target that is a database; connects to nothing."""
    return open_engine(url, options=target_options(options))


def target_of(url: str, options: LoadOptions) -> Target:
    """Return the target that ``url`` names, whatever its kind; nothing is connected to or created yet."""
    return open_target(url, options=target_options(options), retry_seconds=options.retry_seconds)


def _limits(options: LoadOptions) -> TimeLimits:
    return TimeLimits(
        connect_seconds=options.connect_seconds,
        statement_seconds=options.statement_seconds,
        lock_seconds=options.lock_timeout,
    )
