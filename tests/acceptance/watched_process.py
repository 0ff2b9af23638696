"""`fhir-bridge` in a forked process: every logger at DEBUG, asyncio in debug mode, all warnings shown."""

from __future__ import annotations

import logging
import os
import sys
import warnings

from fhir_bridge import logs
from fhir_bridge.cli.main import main

LOGGERS = ("aiosqlite", "asyncio", "fhir_bridge", "httpx", "sqlalchemy", "sqlalchemy.engine")


def speak(folder: str, out: str, errors: str, sabotage: str, *arguments: str) -> None:
    """Run a command in a folder, its standard output and error in these files, after the code `sabotage`."""
    os.chdir(folder)
    for stream, name in ((1, out), (2, errors)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), stream)
    os.environ["PYTHONASYNCIODEBUG"] = "1"
    warnings.simplefilter("default")
    logging.basicConfig(
        level=logging.DEBUG, stream=sys.stderr, format="%(name)s %(levelname)s %(message)s", force=True
    )
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.DEBUG)
    set_up = logs.set_up_logs
    for module in list(sys.modules.values()):
        if getattr(module, "set_up_logs", None) is set_up:
            module.set_up_logs = lambda _level=0: set_up(logging.DEBUG)  # type: ignore[attr-defined]
    exec(sabotage, {})
    sys.argv = ["fhir-bridge", *arguments]
    main()
