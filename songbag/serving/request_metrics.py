"""What the server has done and is doing, as Prometheus reads it."""

import time
from collections import Counter
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)  # seconds
_NO_ANSWER = 499  # the client went before it had one


class Metrics:
    """Counts of requests by route and status, and the seconds they took."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()
        self._seconds: dict[str, list[float]] = {}  # by route: one count a bound, count, sum

    def add(self, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests[route, status] += 1
        row = self._seconds.setdefault(route, [0.0] * (len(_BOUNDS) + 2))
        for place, bound in enumerate(_BOUNDS):
            row[place] += seconds <= bound
        row[-2] += 1
        row[-1] += seconds

    def text(self, gauges: Iterable[tuple[str, str, float]]) -> str:
        """Return all numbers in Prometheus' text format, version 0.0.4.

        ``gauges`` are names, what they mean, and their values at this moment.
        """
        lines = ["# HELP songbag_requests_total Requests by route and status."]
        lines.append("# TYPE songbag_requests_total counter")
        for (route, status), count in sorted(self._requests.items()):
            lines.append(f'songbag_requests_total{{route="{route}",status="{status}"}} {count}')
        lines.append("# HELP songbag_request_seconds Seconds from a request to its whole answer.")
        lines.append("# TYPE songbag_request_seconds histogram")
        for route, row in sorted(self._seconds.items()):
            for bound, below in zip((*_BOUNDS, "+Inf"), row, strict=False):
                name = f'songbag_request_seconds_bucket{{route="{route}",le="{bound}"}}'
                lines.append(f"{name} {below:g}")
            lines.append(f'songbag_request_seconds_count{{route="{route}"}} {row[-2]:g}')
            lines.append(f'songbag_request_seconds_sum{{route="{route}"}} {row[-1]:.6f}')
        for name, meaning, value in gauges:
            lines.append(f"# HELP songbag_{name} {meaning}")
            lines.append(f"# TYPE songbag_{name} gauge")
            lines.append(f"songbag_{name} {value:g}")
        return "\n".join(lines) + "\n"


class MetricsMiddleware:
    """ASGI middleware around everything else, so that refused requests count too."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and count it when it ends."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started, status = time.monotonic(), _NO_ANSWER

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            # The route's pattern, never the address: strangers could invent any number of those.
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.add(route, status, time.monotonic() - started)
