"""The audit: explain, measure, hold against nulls, and judge."""
