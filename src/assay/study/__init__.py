"""Whole experiments: audits of explainers by measures, their statistics and their records."""
