"""What happened in a run, as one HTML file with its pictures in it."""

from reprogram.report.page import render

__all__ = ["render"]
