"""One self-contained HTML page about a run or a sweep: what was done, how private against whom, and what it gave."""

from experiments.html_report.page import write_page

__all__ = ["write_page"]
