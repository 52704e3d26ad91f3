"""The checks, one file for each topic, in the order of the report."""

from . import file, loading, lifecycle, calls, answers, buffers, outs, log, threads, memory, left  # noqa: F401, I001 - in this order
