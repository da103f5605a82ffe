"""The report: one HTML file of trained agents, their records, their play. docs/report.md has its format."""

from fls_jax.report.encoding import unpacked, unpacked_pictures
from fls_jax.report.job import report

__all__ = ["report", "unpacked", "unpacked_pictures"]
