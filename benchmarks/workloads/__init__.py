"""What is measured: layers of published models, long filters, whole networks, and the user's own layers, as values."""

from benchmarks.workloads.catalogue import catalogue, long_filters
from benchmarks.workloads.layer import Workload
from benchmarks.workloads.selection import PRESETS, by_id, everything, matching, preset, select

__all__ = ["PRESETS", "Workload", "by_id", "catalogue", "everything", "long_filters", "matching", "preset", "select"]
