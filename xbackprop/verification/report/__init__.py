"""Write a verification as text, JSON, pictures and an HTML page."""

from xbackprop.verification.report.report import Report

__all__ = ["Report"]
