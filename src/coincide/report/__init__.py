"""A registration to look at: one self-contained page, and its pictures on their own."""

from coincide.report.page import write_report
from coincide.report.pictures import figure, overview_figure

__all__ = ["figure", "overview_figure", "write_report"]
