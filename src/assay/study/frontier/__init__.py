"""Robustness against faithfulness over smoothing widths."""
