"""Pages made from run folders."""

from personascope.report.page import write_report
from personascope.report.watch import save_watch

__all__ = ["save_watch", "write_report"]
