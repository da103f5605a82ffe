"""The report: one HTML file with the records and the play of trained agents. Format: docs/report.md."""

from fls_jax.report.encoding import unpacked, unpacked_pictures
from fls_jax.report.job import report

__all__ = ["report", "unpacked", "unpacked_pictures"]
