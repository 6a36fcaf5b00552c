"""The two papers' experiments: tables of jobs over studies."""
