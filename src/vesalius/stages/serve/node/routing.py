"""When a series is complete and which models read it."""

from __future__ import annotations

import logging
from collections import Counter

from vesalius.stages.serve.node.syntaxes import NOT_IMAGES
from vesalius.stages.serve.site import Route, Site
from vesalius.stages.serve.store import SeriesRow, Store

log = logging.getLogger("vesalius.serve.routing")


class Router:
    """Asks the routes about each series that has something new."""

    def __init__(self, site: Site, store: Store) -> None:
        self.site, self.store, self.routes = site, store, site.all_routes()
        self.counts: Counter[str] = Counter()

    def tick(self, settled: float) -> int:
        """Enter a job for each complete series and route that it takes; how many series were judged.

        A series is complete when no instance came for ``quiet_s``, or at the count of its route. A later instance opens it again: the same routes then get
        it with its new content. The routes are not asked about what this site has made itself.

        Parameters
        ----------
        settled: seconds since 1970; what was received before is in the store (so that silence is the sender's, not ours).
        """
        return sum(self._judge(row, settled) for row in self.store.list_series(unjudged=True))

    def _judge(self, row: SeriesRow, settled: float) -> bool:
        quiet = settled - row.last >= self.site.quiet_s
        routes = self.taken(row)
        ready = [route for route in routes if quiet or route.instances == row.instances]
        if ready and not self.store.ours(row.series_uid):
            for route in ready:
                self.store.enqueue(row.series_uid, route.model, kept_of(route))
                self.counts["jobs"] += 1
        if quiet or (routes and len(ready) == len(routes)):
            self.store.judged(row.series_uid, row.upto)
            self.counts["unrouted"] += not routes
            return True
        return False

    def taken(self, row: SeriesRow) -> list[Route]:
        """The routes that a series takes, one a model (the first that fits); series without images only where the route names their modality."""
        found: dict[str, Route] = {}
        for route in self.routes:
            fits = route.matches(called_ae=row.called_ae, modality=row.modality, body_part=row.body_part, description=row.description)
            if fits and (route.modality is not None or row.modality not in NOT_IMAGES):
                found.setdefault(route.model, route)
        return list(found.values())


def kept_of(route: Route) -> dict[str, object]:
    """What a job keeps of its route."""
    return {"send_to": list(route.send_to), "objects": list(route.objects)}
