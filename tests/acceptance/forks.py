"""A server that forks processes of the bridge: what each would load by itself takes a second of a core."""

from __future__ import annotations

import multiprocessing

FORKS = multiprocessing.get_context("forkserver")
"""One server for each process of pytest; it is asked by one thread, for its answers are given once."""

# Without pytest loaded before, assertions in what it loads would be rewritten again in each fork.
FORKS.set_forkserver_preload(
    [
        "pytest",
        "tests.acceptance.chaos_process",
        "tests.acceptance.watched_process",
        "tests.acceptance.worker_process",
        "fhir_bridge.app.doors",
    ]
)
