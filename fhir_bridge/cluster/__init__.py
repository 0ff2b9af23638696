"""The same migration on Apache Spark, for exports larger than a machine: a thin adapter over the partitions
of `intake.bulk` (performance, "On many").

Spark moves blocks of scratch files from task to task and takes up again what a lost machine was at; what is
in a block, who belongs together and what is decided is said where it is for one machine.
"""
