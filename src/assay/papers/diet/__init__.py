"""The experiments of *Discriminative Feature Attributions* (DiET)."""
