"""A session of Apache Spark, told what our tasks need."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fhir_bridge.errors import UsageError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_SETTINGS = {
    # Patient data lies on the machines' disks while it is moved about.
    "spark.io.encryption.enabled": "true",
    # A row is a block of up to some megabytes: so many a batch, not ten thousand.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "256",
    "spark.sql.execution.arrow.maxBytesPerBatch": str(16 * 1024 * 1024),
    "spark.ui.showConsoleProgress": "false",
}
_HERE = {
    "spark.ui.enabled": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
}
"""Of a master that is this machine alone: nothing of it can be reached from elsewhere."""


@contextmanager
def session(master: str | None) -> Iterator[SparkSession]:
    """Spark at this master, such as `local[2]` or `spark://host:7077`; without one as `spark-submit` and
    Spark's own settings have it.

    Raises UsageError without PySpark or Java. Ended at the end; what was persisted is gone then.
    """
    spark = _begun(master)
    spark.sparkContext.setLogLevel("ERROR")
    try:
        yield spark
    finally:
        spark.stop()


def _begun(master: str | None) -> SparkSession:
    try:
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError:
        raise UsageError(
            "Apache Spark is not installed here",
            code="no-spark",
            hint="pip install 'fhir-bridge[cluster]', on every machine of the cluster",
        ) from None
    builder = SparkSession.builder.appName("fhir-bridge migrate")
    settings = dict(_SETTINGS)
    if master is not None:
        builder = builder.master(master)
        if master.startswith("local"):
            settings |= _HERE
            # The tasks' Python is this one, with all that is installed beside it.
            os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    for name, value in settings.items():
        builder = builder.config(name, value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return builder.getOrCreate()
    except PySparkException as error:
        raise UsageError(
            f"Spark does not begin: {error.getCondition() or type(error).__name__}",
            code="no-spark",
            hint="it needs Java 17 or newer: set JAVA_HOME, or put java on the PATH",
        ) from None
