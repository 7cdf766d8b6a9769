"""Metrics in the format of Prometheus."""

from collections.abc import Mapping
from math import nan

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from opentsm.tsm.domain.delivery import Delivery, DeliveryState
from opentsm.tsm.domain.operation import OperationState
from opentsm.tsm.ports.repositories import Expendable

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30)

_OUTCOMES = {
    DeliveryState.SENT: "sent",
    DeliveryState.FAILED: "failed",
    DeliveryState.PENDING: "pending",
}


class Metrics:
    """The counters of one server process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self._requests = Counter(
            "opentsm_http_requests", "HTTP requests", ("method", "route", "status"), registry=registry
        )
        self._duration = Histogram(
            "opentsm_http_request_duration_seconds",
            "Time to answer, long polls included",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._exchanges = Counter(
            "opentsm_device_exchanges", "Exchanges with device agents", ("answer",), registry=registry
        )
        self._held = Gauge(
            "opentsm_http_requests_held", "Requests that wait for something to happen", registry=registry
        )
        self._operations = Gauge(
            "opentsm_operations", "Operations that have not ended", ("state",), registry=registry
        )
        self._pruned = Counter(
            "opentsm_pruned_rows", "Rows removed because their time was over", ("kind",), registry=registry
        )
        self._outbox_lag = Gauge(
            "opentsm_outbox_lag_seconds", "How long the oldest due message has waited", registry=registry
        )

        self._deliveries = Counter(
            "opentsm_delivery_attempts",
            "Attempts at deliveries by what became of them: sent, failed for good, or pending again",
            ("kind", "outcome"),
            registry=registry,
        )
        self._pending = Gauge(
            "opentsm_deliveries_pending", "Deliveries to be sent, up to 100,000", registry=registry
        )
        self._delivery_lag = Gauge(
            "opentsm_delivery_lag_seconds", "How long the oldest due delivery has waited", registry=registry
        )

    def delivery(self, delivery: Delivery) -> None:
        """Count an attempt at a delivery."""
        self._deliveries.labels(delivery.kind.value, _OUTCOMES[delivery.state]).inc()

    def deliveries(self, pending: int, lag_s: float) -> None:
        """Take in what the database counts of deliveries."""
        self._pending.set(pending)
        self._delivery_lag.set(lag_s)

    def held(self, requests: int) -> None:
        """Take in how many requests wait."""
        self._held.set(requests)

    def stored(self, operations: Mapping[OperationState, int], outbox_lag_s: float) -> None:
        """Take in what the database counts."""
        for state, count in operations.items():
            self._operations.labels(state.value).set(count)
        self._outbox_lag.set(outbox_lag_s)

    def pruned(self, rows: Mapping[Expendable, int]) -> None:
        """Count what housekeeping removed."""
        for kind, count in rows.items():
            self._pruned.labels(kind.value).inc(count)

    def unknown(self) -> None:
        """Forget what the database counted: it cannot be read."""
        self._operations.clear()
        self._outbox_lag.set(nan)
        self.deliveries(0, nan)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._requests.labels(method, route, str(status)).inc()
        self._duration.labels(route).observe(seconds)

    def exchange(self, *, commands: int, start: bool) -> None:
        """Count an exchange with a device by what it got."""
        self._exchanges.labels("order" if commands else "start" if start else "idle").inc()

    def text(self) -> bytes:
        """Return everything as text."""
        return generate_latest(self.registry)
