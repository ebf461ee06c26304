"""The plots of a load: from its profile to drawings with their words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from xml_extractor.profiling.clocks import StageClocks
from xml_extractor.profiling.profile import Bucket, Latency, LoadProfile, Sample
from xml_extractor.profiling.report import formats, plots
from xml_extractor.profiling.report.blocks import Column, Legend, Plot, Table
from xml_extractor.profiling.report.formats import count, milliseconds, plural, rate, share

STAGES: Final = (
    ("parse", "parsing"),
    ("map", "mapping"),
    ("blocked", "blocked: what they made was not taken yet"),
    ("idle", "idle: no documents had come"),
)
"""Roles of the theme, and what each stage of a worker is called."""

MOST_WORKERS: Final = 24
"""Bars that can be compared at a glance; of more workers as many, from the least idle to the most."""

_MOST_OPEN: Final = 8
"""Workers whose figures are shown as they are; of more they are behind a click."""

_MOST_ROWS: Final = 40
_MOST_TABLES: Final = 12
_MOST_INTERVALS: Final = 80
"""Steps of a line that can still be told apart on a phone."""

_FEWEST_INTERVALS: Final = 10
_BATCHES: Final = 3
"""In an interval, so that one batch more or less does not make its rate."""

_SMOOTH_FROM: Final = 20
"""Intervals from which on a running mean says more than they do one by one."""


@dataclass(frozen=True, slots=True)
class _Interval:
    """What happened between two samples."""

    seconds: float  # at its end
    length: float
    before: Sample | None
    after: Sample

    def per_second(self, figure: Callable[[Sample], float]) -> float:
        began = 0.0 if self.before is None else figure(self.before)
        return max(figure(self.after) - began, 0.0) / self.length

    def shares(self) -> dict[str, float]:
        before, after = StageClocks() if self.before is None else self.before.clocks, self.after.clocks
        return StageClocks(
            max(after.parse - before.parse, 0.0),
            max(after.map - before.map, 0.0),
            max(after.blocked - before.blocked, 0.0),
            max(after.idle - before.idle, 0.0),
        ).shares()


def _intervals(samples: Sequence[Sample]) -> list[_Interval]:
    made = []
    before: Sample | None = None
    for sample in samples:
        length = sample.seconds - (0.0 if before is None else before.seconds)
        if length > 1e-6:
            made.append(_Interval(sample.seconds, length, before, sample))
            before = sample
    return made


def _coarse(intervals: Sequence[_Interval], batches: int = 0) -> list[_Interval]:
    """Join intervals to fewer, of as many each: no more than can be told apart, with batches enough.

    Documents are settled a batch at a time: where an interval sees one batch in ten, the rate of each is
    either nought or ten times too high.

    Args:
        batches: how many of them an interval is to have on average, where the load had enough.
    """
    seen = intervals[-1].after.batches
    most = _MOST_INTERVALS if not batches else min(_MOST_INTERVALS, max(seen // batches, _FEWEST_INTERVALS))
    size = -(-len(intervals) // most)
    made = [_joined(intervals[at : at + size]) for at in range(0, len(intervals), size)]
    # The last one may be a moment, whose rates mean nothing: a load's end is no multiple of an interval.
    if len(made) > 1 and made[-1].length < made[0].length / 2:
        made[-2:] = [_joined(made[-2:])]
    return made


def _joined(intervals: Sequence[_Interval]) -> _Interval:
    first, last = intervals[0], intervals[-1]
    return _Interval(last.seconds, sum(one.length for one in intervals), first.before, last.after)


def timeline(profile: LoadProfile) -> list[Plot]:
    """Return the plots over time; none where a load was too short to be sampled twice."""
    intervals = _intervals(profile.samples)
    if len(intervals) < 2:
        return []
    made = [_throughput(intervals), _queue(intervals, profile), _latency(intervals), _workers(intervals)]
    made += [_memory(intervals), _cores(intervals)]
    made += _settings(intervals)
    return [plot for plot in made if plot is not None]


def _throughput(intervals: Sequence[_Interval]) -> Plot:
    intervals = _coarse(intervals, _BATCHES)
    rates = [interval.per_second(lambda sample: sample.documents) for interval in intervals]
    seconds = [interval.seconds for interval in intervals]
    mean = intervals[-1].after.documents / seconds[-1]
    smooth = len(rates) >= _SMOOTH_FROM
    lines = [plots.Line(rates, "parse", filled=True, steps=True, width=1.0 if smooth else 2.0)]
    legend = [Legend(f"mean of {formats.seconds(intervals[0].length)}", "parse", "line")]
    if smooth:
        lines.append(plots.Line(_running_mean(intervals), "ink"))
        legend.append(Legend("running mean", "ink", "line"))
    words = plots.Words(
        "throughput",
        "Throughput over time",
        f"Documents settled per second: {rate(mean)} on average, between {rate(min(rates))} and "
        f"{rate(max(rates))} in single intervals.",
    )
    svg = plots.time_line(
        seconds, lines, words, unit="documents/s", level=plots.Level(mean, f"mean {rate(mean)}")
    )
    return Plot("Throughput", svg, legend)


def _running_mean(intervals: Sequence[_Interval]) -> list[float]:
    """Return the mean rate around each interval, over a twelfth of the time."""
    reach = max(1, len(intervals) // 24)
    made = []
    for at in range(len(intervals)):
        first = intervals[max(at - reach, 0)]
        last = intervals[min(at + reach, len(intervals) - 1)]
        began = 0 if first.before is None else first.before.documents
        length = last.seconds - first.seconds + first.length
        made.append((last.after.documents - began) / length)
    return made


def _queue(intervals: Sequence[_Interval], profile: LoadProfile) -> Plot | None:
    most, most_bytes = profile.queue_capacity_documents, profile.queue_capacity_bytes
    if not most or not most_bytes:
        return None
    documents = [interval.after.queue_documents for interval in intervals]
    sizes = [interval.after.queue_bytes for interval in intervals]
    highest = max(documents)
    words = plots.Words(
        "queue",
        "Insert queue over time",
        f"How full the insert queue was: up to {count(highest)} of {count(most)} documents, and up to "
        f"{formats.size(max(sizes))} of {formats.size(most_bytes)}.",
    )
    svg = plots.time_line(
        [interval.seconds for interval in intervals],
        [
            plots.Line([100 * number / most for number in documents], "blocked", filled=True),
            plots.Line([100 * number / most_bytes for number in sizes], "extra", "dashed"),
        ],
        words,
        unit="% of what it may hold",
        top=105,
    )
    legend = (
        Legend(f"documents (of {count(most)})", "blocked", "line"),
        Legend(f"bytes (of {formats.size(most_bytes)})", "extra", "dashed"),
    )
    return Plot("Insert queue", svg, legend, "Full: the target is slower than the workers. Empty: faster.")


def _latency(intervals: Sequence[_Interval]) -> Plot | None:
    known = [interval.after.insert for interval in intervals if interval.after.insert.count]
    if not known:
        return None

    def line(figure: Callable[[Latency], float]) -> list[float | None]:
        return [figure(i.after.insert) if i.after.insert.count else None for i in intervals]

    words = plots.Words(
        "insert-latency",
        "Insert latency over time",
        "Milliseconds from a batch's first statement to the end of its commit: the median between "
        f"{milliseconds(min(latency.p50 for latency in known))} and "
        f"{milliseconds(max(latency.p50 for latency in known))}, the slowest batch "
        f"{milliseconds(max(latency.max for latency in known))}.",
    )
    lines = [
        (plots.Line(line(lambda latency: latency.max), "idle", "dotted"), "slowest"),
        (plots.Line(line(lambda latency: latency.p95), "blocked", "dashed"), "p95"),
        (plots.Line(line(lambda latency: latency.p50), "parse"), "p50"),
    ]
    if sum(latency.count for latency in known) < 2 * len(known):  # three lines would lie on each other
        lines = [(plots.Line(line(lambda latency: latency.max), "parse"), "the slowest batch of each moment")]
    seconds = [interval.seconds for interval in intervals]
    svg = plots.time_line(seconds, [drawn for drawn, _ in lines], words, unit="ms per batch")
    legend = [Legend(label, drawn.role, drawn.mark) for drawn, label in reversed(lines)]
    return Plot("Insert latency", svg, legend)


def _workers(intervals: Sequence[_Interval]) -> Plot | None:
    intervals = _coarse(intervals)
    shares = [interval.shares() for interval in intervals]
    if not any(sum(part.values()) for part in shares):
        return None
    words = plots.Words(
        "worker-time",
        "What the workers did over time",
        "Shares of the workers' time in each interval: parsing, mapping, blocked on the full queue, idle.",
    )
    parts = [(role, [part[role] for part in shares]) for role, _ in STAGES]
    svg = plots.shares_over_time([interval.seconds for interval in intervals], parts, words)
    return Plot("What the workers did", svg, _stage_legend())


def _stage_legend() -> tuple[Legend, ...]:
    return tuple(Legend(name, role) for role, name in STAGES)


def _memory(intervals: Sequence[_Interval]) -> Plot | None:
    known = [size for interval in intervals if (size := interval.after.memory_bytes) is not None]
    if not known:
        return None
    words = plots.Words(
        "memory",
        "Memory over time",
        "Memory of all processes of the load: between "
        f"{formats.size(min(known))} and {formats.size(max(known))}.",
    )
    sizes = [interval.after.memory_bytes for interval in intervals]
    values = [None if size is None else size / 2**20 for size in sizes]
    svg = plots.time_line(
        [interval.seconds for interval in intervals],
        [plots.Line(values, "map", filled=True)],
        words,
        unit="MiB",
    )
    return Plot("Memory, all processes", svg)


def _cores(intervals: Sequence[_Interval]) -> Plot:
    intervals = _coarse(intervals)
    cores = [interval.per_second(lambda sample: sample.cpu_seconds) for interval in intervals]
    mean = intervals[-1].after.cpu_seconds / intervals[-1].seconds
    words = plots.Words(
        "cores",
        "Cores kept busy over time",
        f"Processor cores that the load kept busy: {mean:.2f} on average, at most {max(cores):.2f}.",
    )
    svg = plots.time_line(
        [interval.seconds for interval in intervals],
        [plots.Line(cores, "extra", filled=True, steps=True)],
        words,
        unit="cores",
        level=plots.Level(mean, f"mean {mean:.2f}"),
    )
    return Plot("Cores kept busy", svg, note="The load's own; a database server's are not among them.")


def _settings(intervals: Sequence[_Interval]) -> Iterator[Plot]:
    """Yield what ``--auto-tune`` changed while the load ran."""
    after = [interval.after for interval in intervals]
    sizes, threads = [sample.batch_size for sample in after], [sample.insert_threads for sample in after]
    for name, heading, unit, role, values in (
        ("batch-size", "Batch size", "documents a batch", "parse", sizes),
        ("insert-threads", "Insert threads", "threads", "extra", threads),
    ):
        if min(values) == max(values):
            continue
        words = plots.Words(
            name,
            f"{heading} over time",
            f"{heading}: {count(values[0])} at first, {count(values[-1])} at the end, between "
            f"{count(min(values))} and {count(max(values))}.",
        )
        svg = plots.time_line(
            [interval.seconds for interval in intervals],
            [plots.Line(values, role, steps=True)],
            words,
            unit=unit,
        )
        yield Plot(f"{heading}, as --auto-tune set it", svg)


def samples_table(profile: LoadProfile) -> Table | None:
    """Return the figures of the time line as a table, every so many of them where they are many."""
    intervals = _intervals(profile.samples)
    if len(intervals) < 2:
        return None
    every = -(-len(intervals) // _MOST_ROWS)
    rows = [
        (
            formats.seconds(interval.seconds),
            rate(interval.per_second(lambda sample: sample.documents)),
            count(interval.after.documents),
            count(interval.after.queue_documents),
            formats.size(interval.after.queue_bytes),
            *(
                (milliseconds(latency.p50), milliseconds(latency.p95), milliseconds(latency.max))
                if (latency := interval.after.insert).count
                else ("–", "–", "–")
            ),
            "–" if interval.after.memory_bytes is None else formats.size(interval.after.memory_bytes),
            f"{interval.per_second(lambda sample: sample.cpu_seconds):.2f}",
        )
        for interval in intervals[every - 1 :: every]
    ]
    headings = (
        "documents/s", "documents", "in the queue", "its bytes", "insert p50", "p95", "slowest", "memory",
        "cores",
    )  # fmt: skip
    columns = (Column("at"), *(Column(heading, "number") for heading in headings))
    return Table("The time line in figures", columns, rows, folded=True)


def latency_plot(
    name: str, heading: str, what: str, role: str, latency: Latency, histogram: Sequence[Bucket]
) -> Plot | None:
    """Return a histogram of durations; ``None`` where there were none."""
    buckets = [(bucket.low_ms, bucket.high_ms, bucket.count) for bucket in histogram if bucket.count]
    if not buckets:
        return None
    figures = [("p50", latency.p50), ("p95", latency.p95), ("p99", latency.p99)]
    told = ", ".join(f"{label} {milliseconds(value)}" for label, value in figures)
    words = plots.Words(
        name, heading, f"How many {what} took how long: {told}, the slowest {milliseconds(latency.max)}."
    )
    svg = plots.histogram(
        buckets, [(value, label) for label, value in figures], words, role=role, unit=what
    )  # fmt: skip
    total = sum(number for _, _, number in buckets)
    table = Table(
        f"{heading} in figures",
        (Column("up to"), Column(what, "number"), Column("share", "number")),
        [(milliseconds(high), count(number), share(number / total)) for _, high, number in buckets],
        folded=True,
    )
    return Plot(heading, svg, note=f"{told}, slowest {milliseconds(latency.max)}.", table=table)


def worker_plot(profile: LoadProfile) -> Plot | None:
    """Return where each worker's time went; ``None`` where no worker did anything."""
    workers = [(worker, worker.clocks.shares()) for worker in profile.workers if worker.clocks.seconds > 0]
    if not workers:
        return None
    shown = workers
    note = ""
    if len(workers) > MOST_WORKERS:
        ranked = sorted(workers, key=lambda item: item[1]["idle"] + item[1]["blocked"])
        step = (len(ranked) - 1) / (MOST_WORKERS - 1)
        shown = [ranked[round(at * step)] for at in range(MOST_WORKERS)]
        note = f"{MOST_WORKERS} of {len(workers)} workers, from the busiest to the least busy."
    whole = profile.clocks.shares()
    bars = [("all", [(role, whole[role]) for role, _ in STAGES])] if len(workers) > 1 else []
    bars += [(short_name(worker.name), [(role, part[role]) for role, _ in STAGES]) for worker, part in shown]
    told = ", ".join(f"{name.partition(':')[0]} {share(whole[role])}" for role, name in STAGES)
    words = plots.Words("workers", "Where each worker's time went", f"All workers together: {told}.")
    table = Table(
        "The workers in figures",
        (
            Column("worker"), Column("documents", "number"), Column("parsing", "number"),
            Column("mapping", "number"), Column("blocked", "number"), Column("idle", "number"),
            Column("time", "number"),
        ),
        [
            (
                short_name(worker.name), count(worker.documents), *(share(part[role]) for role, _ in STAGES),
                formats.seconds(worker.clocks.seconds),
            )
            for worker, part in workers
        ],
        folded=len(workers) > _MOST_OPEN,
    )  # fmt: skip
    return Plot("Workers", plots.stacked_bars(bars, words), _stage_legend(), note, table)


def short_name(name: str) -> str:
    """Return a worker's name as people say it: ``worker 3``."""
    return name.removeprefix("xml-extractor-").replace("-", " ")


def insert_plot(profile: LoadProfile) -> Plot | None:
    """Return where the insert threads' time went; ``None`` where nothing was inserted."""
    parts = insert_parts(profile)
    total = sum(seconds for _, _, seconds in parts)
    if profile.inserting.busy <= 0 or total <= 0:
        return None
    parts.sort(key=lambda part: -part[2])
    shown = [
        (label, role, seconds / total, f"{formats.seconds(seconds)} · {share(seconds / total)}")
        for label, role, seconds in parts
    ]
    told = ", ".join(f"{label} {figure}" for label, _, _, figure in shown[:4])
    words = plots.Words("insert-time", "Where the insert threads' time went", f"Most of it: {told}.")
    tables = sum(profile.inserting.tables.values())
    note = f"{plural(len(profile.inserting.tables), 'table')} together {share(tables / total)}."
    return Plot("Insert threads", plots.ranked_bars(shown, words), note=note)


def insert_parts(profile: LoadProfile) -> list[tuple[str, str, float]]:
    """Return label, role and seconds of each part of the insert threads' time, the least tables as one."""
    clocks = profile.inserting
    tables = sorted(clocks.tables.items(), key=lambda item: (-item[1], item[0]))
    parts = [(f"insert into {table}", "parse", seconds) for table, seconds in tables[:_MOST_TABLES]]
    rest = tables[_MOST_TABLES:]
    if rest:
        parts.append((f"insert into {len(rest)} more tables", "parse", sum(seconds for _, seconds in rest)))
    parts += [
        ("ledger and quarantine", "map", clocks.claim),
        ("commit", "extra", clocks.commit),
        ("retries and what was rolled back", "blocked", clocks.retry),
        ("waiting for a batch", "idle", clocks.wait),
    ]
    return [part for part in parts if part[2] > 0]
