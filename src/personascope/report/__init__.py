"""Pages made from run folders."""

from personascope.report.page import write_report
from personascope.report.vectors import save_vectors
from personascope.report.watch import save_watch

__all__ = ["save_vectors", "save_watch", "write_report"]
