"""The verdict's own exam: maps of which it is known beforehand whether they are to be trusted."""
