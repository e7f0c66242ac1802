"""Metrics of a loop for Prometheus, read from its state when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from eg_agent import __version__
from eg_agent.errors import MissingExtra
from eg_agent.queue.state import LoopState

#: Upper bounds of the histograms, seconds.
_BOUNDS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)


def metrics_of(state: LoopState) -> Callable[[], bytes]:
    """A function that gives the metrics of a loop in Prometheus' text format. Raises MissingExtra."""
    try:
        from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
    except ImportError:
        raise MissingExtra("metrics", "queue") from None

    def counter(name: str, text: str, label: str, values: dict[str, int]) -> Any:
        family = CounterMetricFamily(name, text, labels=[label])
        for key, value in values.items():
            family.add_metric([key], value)
        return family

    def histogram(name: str, text: str, values: list[float]) -> Any:
        buckets = [(str(bound), float(sum(v <= bound for v in values))) for bound in _BOUNDS]
        family = HistogramMetricFamily(name, text)
        family.add_metric([], [*buckets, ("+Inf", float(len(values)))], sum_value=sum(values))
        return family

    class Loop:
        def collect(self) -> Iterator[Any]:
            info = GaugeMetricFamily(
                "eg_agent_info", "Version, mode and role.", labels=["version", "mode", "role"]
            )
            info.add_metric([__version__, state.mode, state.role], 1)
            yield info
            yield GaugeMetricFamily(
                "eg_agent_acting", "1 when this agent holds the lease.", state.role == "acting"
            )
            yield GaugeMetricFamily("eg_agent_held", "1 when the loop needs a person.", bool(state.held))
            yield GaugeMetricFamily(
                "eg_agent_open_decisions", "Decisions on their way.", state.open_decisions
            )
            yield GaugeMetricFamily(
                "eg_agent_last_step_seconds", "When the loop stepped last.", state.stepped
            )
            yield CounterMetricFamily(
                "eg_agent_runs_answered", "Runs that were answered.", state.runs_answered
            )
            yield CounterMetricFamily("eg_agent_submissions", "Items added to the queue.", state.submissions)
            yield CounterMetricFamily(
                "eg_agent_identifications_written", "Identifications written to Tiled.", state.entries
            )
            yield GaugeMetricFamily(
                "eg_agent_identifications_wait",
                "1 when Tiled does not take identifications.",
                bool(state.entries_problem),
            )
            yield CounterMetricFamily("eg_agent_errors", "Errors that the loop went on after.", state.errors)
            yield counter("eg_agent_decisions", "Decisions by action.", "action", dict(state.decisions))
            yield counter(
                "eg_agent_identifications", "Identifications by verdict.", "verdict", dict(state.verdicts)
            )
            yield counter("eg_agent_outcomes", "What became of decisions.", "status", dict(state.outcomes))
            waiting = GaugeMetricFamily("eg_agent_waiting", "1 for each thing waited for.", labels=["what"])
            for what in ("tiled", "queue", "board", "environment", "lock", "person", "disk"):
                waiting.add_metric([what], float(what in state.shown))
            yield waiting
            yield histogram(
                "eg_agent_identify_seconds",
                "Reading and identifying the last runs.",
                list(state.identify_seconds),
            )
            yield histogram(
                "eg_agent_stop_to_submit_seconds",
                "From a run's stop document to the submission it led to.",
                list(state.stop_to_submit),
            )

    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(Loop())  # type: ignore[arg-type]
    return lambda: generate_latest(registry)
