"""Commands that no study makes, one module each."""
