"""Measures: what can be said for or against a map."""
