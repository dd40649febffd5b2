"""Prediction over an archive by many workers of a Ray cluster (Moritz et al., OSDI 2018): the same findings as on one machine.

Each worker loads the model once and takes small shares of the studies that nothing is known of yet; its answers are kept in ``OUT/.kept``, a file a study, so
that a run that was stopped goes on where it was. At the end the usual `predict` puts them together: what it writes is what it would have written alone.
Workers on other machines see the archive, the run and ``OUT`` under the same paths.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vesalius.errors import OptionError
from vesalius.mapping import BoxedMapping, Mapping
from vesalius.stages.kept import Kept, without
from vesalius.stages.predict import PICTURES, Predicted, Progress, make_out, predict, sources_in
from vesalius.stages.prepare import quiet
from vesalius.stages.scaleout.archive import Asked, Reader, Share, cases_in, kept_for
from vesalius.stages.scaleout.cluster import cluster, library
from vesalius.stages.writing import WRITERS
from vesalius.stages.writing.boxes import BOX_WRITERS

SHARE = 8
"""Studies that a worker is given at a time; a stop costs at most so many a worker."""
ROUNDS = 4
"""Shares are smaller where each worker would have fewer than so many."""
DIED = "the worker that read it died; it was tried alone"


def predict_on_ray(
    run: Path | str, data: Path | str, out: Path | str, *, workers: int | None = None, address: str | None = None, pictures: int = PICTURES,
    method: str | None = None, device: str = "cpu", write: Sequence[str] = (), gaps: str | None = None, force: bool = False, progress: Progress = quiet,
) -> Predicted:
    """As `stages.predict.predict`, the studies shared among workers.

    A study whose worker died, even when it was given to one alone, is refused with that reason in this run and tried again in the next.

    Parameters
    ----------
    workers: each a process of one core; as many as this machine has cores when None. address: of a cluster that is there; one of this machine when None.

    Raises
    ------
    OptionError: Ray is not installed, or fewer than one worker. RunError: there is no model, no cluster at the address, or the folder cannot be written.
    DataError: see `predict`.
    """
    library()
    n_workers = (os.cpu_count() or 1) if workers is None else workers
    if n_workers < 1:
        raise OptionError("there is no worker", expected="--workers of 1 or more", got=n_workers)
    mapping, folder = Mapping.load(run, "cpu"), Path(out).absolute()
    asked = Asked(tuple(write), force)
    _check(mapping, asked)
    cases = cases_in(mapping, sources_in(Path(data).absolute() if Path(data).exists() else data, gaps))
    make_out(folder)
    kept = kept_for(mapping, folder, asked)
    left = without(kept, cases)
    if left:
        with cluster(n_workers, address) as ray:
            _share(ray, left, min(n_workers, len(left)), (str(Path(run).absolute()), str(folder), asked, len(cases), device), kept, progress)
    return predict(run, data, out, pictures=pictures, method=method, write=write, gaps=gaps, force=force, kept=kept, progress=progress)


def _check(mapping: Mapping, asked: Asked) -> None:
    """Unknown kinds of files are told before a cluster is started."""
    for kind in asked.write:
        (BOX_WRITERS if isinstance(mapping, BoxedMapping) else WRITERS).get(kind)


def _share(ray: Any, left: Share, workers: int, reader: tuple[Any, ...], kept: Kept, progress: Progress) -> None:
    """Give shares to whoever is free until nothing is left; a share whose worker died is given out study by study."""
    made = ray.remote(num_cpus=1)(Reader)
    size = max(1, min(SHARE, len(left) // (workers * ROUNDS)))
    shares = deque(left[i : i + size] for i in range(0, len(left), size))
    free = deque(made.remote(*reader) for _ in range(workers))
    running: dict[Any, tuple[Any, Share]] = {}
    done = 0
    while shares or running:
        while shares and free:
            actor, share = free.popleft(), shares.popleft()
            running[actor.read.remote(share)] = (actor, share)
        (ready,), _ = ray.wait(list(running), num_returns=1)
        actor, share = running.pop(ready)
        try:
            done += ray.get(ready)
            free.append(actor)
        except ray.exceptions.RayActorError:
            free.append(made.remote(*reader))
            done += _after_death(share, shares, kept)
        except ray.exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from error
        progress(done, len(left), "studies read by workers")


def _after_death(share: Share, shares: deque[Share], kept: Kept) -> int:
    """Find out which study it was: each is tried alone; one that was alone is set aside. How many are settled by that."""
    if len(share) > 1:
        shares.extend([each] for each in share)
        return 0
    kept.aside[share[0][1].id] = DIED
    return 1
