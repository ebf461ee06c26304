"""The load itself: opens what the coordinator needs, runs it, and writes down how it ended."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from xml_extractor import failpoints
from xml_extractor.contract import Contract, read_contract
from xml_extractor.engines.base import Engine
from xml_extractor.errors import ExitCode, HaltedError, LoaderError, PrivateErrors, TargetError, UsageError
from xml_extractor.mapping import interpreter_choice
from xml_extractor.mapping.protection import salt_fingerprint, salted
from xml_extractor.mapping.records import Key, Previous
from xml_extractor.operations import opening
from xml_extractor.processing.memory_budget import check_memory
from xml_extractor.processing.outside_watch import watched_from_outside
from xml_extractor.processing.parallel_coordinator import ParallelCoordinator
from xml_extractor.profiling.memory import MemoryPeak
from xml_extractor.profiling.observer import LoadObserver, WatchedLoad
from xml_extractor.profiling.observers import Observers
from xml_extractor.profiling.progress import Progress
from xml_extractor.profiling.recorder import Recorder
from xml_extractor.profiling.summary import DocumentCounts, LoadSummary
from xml_extractor.settings import KeysWhen, LoadOptions, hide_password
from xml_extractor.source.reader import SourceReader
from xml_extractor.target.base import LoadHandle, RunState
from xml_extractor.target.hash_salt import SALT_FINGERPRINT
from xml_extractor.target.owed_keys import refuse_text_keys
from xml_extractor.threads import Thread
from xml_extractor.versions import versions

logger = logging.getLogger(__name__)


@PrivateErrors()
def load(
    source: str,
    target: str | None,
    contract: Contract | Path | str,
    options: LoadOptions | None = None,
    *,
    progress: Progress | None = None,
    on_start: Callable[[RunningLoad], None] | None = None,
    on_failure: Callable[[LoadSummary], None] | None = None,
    settings: Mapping[str, Any] | None = None,
    keys: Iterable[tuple[Key, Previous]] | None = None,
    observers: Sequence[LoadObserver] = (),
) -> LoadSummary:
    """Load every pending document of ``source`` into ``target`` by ``contract``, each exactly once.

    Args:
        source: SQLAlchemy URL of the database that holds the documents; it is only read.
        target: SQLAlchemy URL, ``null:`` or ``jsonl:DIR``; ``None`` = the source.
        contract: the mapping contract, or its file.
        options: how to run; the defaults of :class:`LoadOptions` where absent.
        progress: shows how far the load has come; nothing is shown where absent.
        on_start: given the load just before it runs; its ``stop`` and ``abort`` may be called from any
            thread.
        on_failure: given the figures of a load that failed, before the error is raised.
        settings: what the summary and ``load_runs`` record as settings, instead of the options and URLs;
            must hold no password.
        keys: load these documents, with what the ledger says of them, instead of all that are pending.
        observers: told when the load begins, of each batch, and, whatever happens, when it ends.

    Returns:
        The summary, with the load's profile; its sums have been checked.

    Raises:
        LoaderError: by its class, and its ``exit_code``, one knows what to do about it.
    """
    failpoints.announce()
    options = options or LoadOptions()
    shown = dict(settings) if settings is not None else _shown(source, target, options)
    watching = Observers(observers)
    try:
        if not isinstance(contract, Contract):
            contract = read_contract(Path(contract))
        summary = _load(
            source, target, contract, options, shown, watching,
            progress=progress, on_start=on_start, on_failure=on_failure, keys=keys,
        )  # fmt: skip
    except BaseException as error:
        watching.end(_not_begun(error, contract, shown))  # unless they have been told more already
        raise
    watching.end(summary)
    return summary


def _load(
    source: str,
    target: str | None,
    contract: Contract,
    options: LoadOptions,
    shown: dict[str, Any],
    watching: Observers,
    *,
    progress: Progress | None,
    on_start: Callable[[RunningLoad], None] | None,
    on_failure: Callable[[LoadSummary], None] | None,
    keys: Iterable[tuple[Key, Previous]] | None,
) -> LoadSummary:
    plan = salted(contract.plan)
    interpreter_choice.announce()
    source_engine = opening.source_engine(source, options)
    opened = opening.target_of(source if target is None else target, options)
    fingerprint = salt_fingerprint(plan)
    if fingerprint is not None:
        shown[SALT_FINGERPRINT] = fingerprint
    # Before the target is touched: opened for writing, a file is created, and it may be the source's.
    try:
        check_memory(options)
        options = check_source(source_engine, contract, options)
    except LoaderError as error:
        if on_failure is not None:
            on_failure(_not_begun(error, contract, shown))
        raise
    handle = opened.prepare(
        plan,
        source_name=source_name(options, contract, source_engine),
        source_name_explicit=options.source_name is not None,
        create_tables=bool(options.create_tables),
        dry_run=options.dry_run,
        on_plan_change=options.on_plan_change.value,
        on_change=options.on_change.value,
        keys_after=options.keys_when is KeysWhen.AFTER,
        settings=shown,
    )
    running = RunningLoad(handle)
    try:
        if handle.resumed:
            logger.info("going on with load %s, which was interrupted", handle.load_id)
        memory = MemoryPeak()
        recorder = Recorder(watching, memory.take)
        coordinator = ParallelCoordinator(
            source_engine, opened, handle, plan, options, progress, keys, recorder
        )
        running.attach(coordinator)
        if on_start is not None:
            on_start(running)
        with watched_from_outside(plan, options.worker_timeout), memory:
            try:
                watching.begin(
                    WatchedLoad(
                        coordinator.profile,
                        lambda: _completed(coordinator.summary(), memory, shown),
                        opened.database,
                        options.dry_run,
                    )
                )
                summary = coordinator.run()
            except BaseException as error:
                summary = _completed(coordinator.summary(), memory, shown)
                summary.error, summary.error_code = _error(error)
                watching.end(summary)
                # A target that has just been given up would only be waited for once more.
                if not isinstance(error, TargetError):
                    with suppress(LoaderError, MemoryError):
                        state = RunState.HALTED if isinstance(error, HaltedError) else RunState.FAILED
                        running.record_end(_end_state(state, handle, keys), summary)
                if on_failure is not None:
                    on_failure(summary)
                raise
        summary = _completed(summary, memory, shown)
        stopped = summary.stopped_by_signal is not None
        state = RunState.STOPPED if stopped else RunState.FINISHED
        try:
            running.record_end(_end_state(state, handle, keys), summary)
        except BaseException as error:
            summary.error, summary.error_code = _error(error)
            watching.end(summary)
            raise
        return summary
    finally:
        handle.close()


def _end_state(state: RunState, handle: LoadHandle, keys: object) -> RunState:
    """Return how the load stands now that a run has ended in ``state``.

    Where single documents of an unfinished load were replayed, it stands as it did: the rest is still to be
    loaded, perhaps by a loader that is at work.
    """
    if keys is not None and handle.state_before is not None:
        return handle.state_before
    return state


class RunningLoad:
    """A load in progress, for whoever may want to stop it.  Thread-safe."""

    def __init__(self, handle: LoadHandle) -> None:
        self._handle = handle
        self._coordinator: ParallelCoordinator | None = None
        self._aborted = threading.Event()

    def attach(self, coordinator: ParallelCoordinator) -> None:
        """Name the coordinator that is about to run."""
        self._coordinator = coordinator

    def stop(self, signal_number: int) -> None:
        """Finish what is in flight, then end."""
        if self._coordinator is not None:
            self._coordinator.stop(signal_number)

    def abort(self) -> None:
        """End at once; what is not committed stays pending."""
        self._aborted.set()
        if self._coordinator is not None:
            self._coordinator.abort()
        self._handle.abort()

    def record_end(self, state: RunState, summary: LoadSummary) -> None:
        """Write down how the load ended, unless it was, or is meanwhile, broken off.

        Raises:
            TargetError: it could not be recorded.
            MemoryError: nor tried, for want of memory.
        """
        if self._aborted.is_set():
            return  # the load can be resumed as it is, and whoever insists does not want to wait
        failures: list[BaseException] = []

        def record() -> None:
            try:
                if self._coordinator is not None:
                    self._handle.record_ranges(self._coordinator.take_finished_ranges())
                self._handle.finish(state, summary.to_json())
            except BaseException as error:  # noqa: BLE001 - raised again by the waiting thread
                failures.append(error)

        # In a thread of its own, so that a target that does not answer can be left behind.
        thread = Thread(record, name="record-end")
        thread.start()
        while thread.is_alive() and not self._aborted.is_set():
            thread.join(0.05)
        if failures and not self._aborted.is_set():
            raise failures[0]


def reach_source(url: str, contract: Contract, options: LoadOptions) -> Engine:
    """Return the engine of the source, after connecting to it once.

    Raises:
        SourceError: it cannot be reached.
    """
    source = opening.source_engine(url, options)
    reader = SourceReader(source, contract.plan.source)
    reader.open()
    reader.close()
    return source


def source_name(options: LoadOptions, contract: Contract, source: Engine) -> str:
    """Return the name by which the ledger knows the source (law 2).

    What stands for the same data must not change with host, driver or port.
    """
    plan = contract.plan.source
    return options.source_name or plan.name or f"{source.database}.{plan.table}"


def check_source(source: Engine, contract: Contract, options: LoadOptions) -> LoadOptions:
    """Refuse a source that is not there or cannot be read safely; nothing is written anywhere.

    Returns:
        The options, with the bounds of the key range in the type of the source's keys.

    Raises:
        SourceError: the source cannot be read.
        UsageError: a bound is no whole number, but the keys are; or the first comes after the last; or keys
            of tables cannot come after the load.
    """
    reader = SourceReader(source, contract.plan.source, retry_seconds=options.retry_seconds)
    checked: list[LoadOptions] = []
    failures: list[BaseException] = []

    def check() -> None:
        try:
            reader.open()
            reader.check()
            checked.append(_with_typed_keys(options, reader, contract))
            if options.keys_when is KeysWhen.AFTER and isinstance(_first_key(reader), str):
                refuse_text_keys(contract.plan)
        except BaseException as error:  # noqa: BLE001 - raised again by the waiting thread
            failures.append(error)

    # In a thread of its own: the check may read the whole key column, and a signal, which raises in the
    # main thread, would be swallowed by the driver that is at work there.
    thread = Thread(check, name="check-source")
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.05)
    except BaseException:
        reader.abort()
        raise
    reader.close()
    if failures:
        raise failures[0]
    return checked[0]


def _with_typed_keys(options: LoadOptions, reader: SourceReader, contract: Contract) -> LoadOptions:
    if options.app_id_start is None and options.app_id_end is None:
        return options
    first = _first_key(reader)
    if first is None:
        return options
    numbered = isinstance(first, int)
    bounds = {name: getattr(options, name) for name in ("app_id_start", "app_id_end")}
    for name, bound in bounds.items():
        if bound is None or isinstance(bound, int) is numbered:
            continue
        if not numbered:
            bounds[name] = str(bound)
            continue
        try:
            bounds[name] = int(bound)
        except ValueError:
            raise UsageError(
                f"--{name.replace('_', '-')} {bound!r}: keys of {contract.plan.source.table} are whole "
                "numbers; give one"
            ) from None
    start, end = bounds["app_id_start"], bounds["app_id_end"]
    if numbered and start is not None and end is not None and start > end:
        raise UsageError(f"--app-id-start {start} comes after --app-id-end {end}; exchange them")
    return options.model_copy(update=bounds)


def _first_key(reader: SourceReader) -> Key | None:
    first = next(reader.key_pages(page_size=1), None)
    return None if first is None else first[0]


def _not_begun(
    error: BaseException, contract: Contract | Path | str, settings: Mapping[str, Any]
) -> LoadSummary:
    """Return the figures of a load that failed before it began, or has nothing more to say."""
    tables = contract.plan.tables if isinstance(contract, Contract) else ()
    rows = {table.name: 0 for table in tables}
    message, code = _error(error)
    return LoadSummary(
        DocumentCounts(), rows, dict(rows), 0.0,
        error=message, error_code=code, settings=dict(settings), versions=versions(),
    )  # fmt: skip


def _error(error: BaseException) -> tuple[str, ExitCode]:
    """Return what a summary says of an error: our own messages only, as others may quote a document."""
    if isinstance(error, LoaderError):
        return str(error), error.exit_code
    return type(error).__name__, ExitCode.BUG


def _completed(summary: LoadSummary, memory: MemoryPeak, settings: Mapping[str, Any]) -> LoadSummary:
    summary.peak_memory_bytes = memory.peak_bytes
    summary.settings = dict(settings)
    summary.versions = versions()
    return summary


def _shown(source: str, target: str | None, options: LoadOptions) -> dict[str, Any]:
    return {
        "source": hide_password(source),
        "target": hide_password(source if target is None else target),
        **options.model_dump(mode="json"),
    }
