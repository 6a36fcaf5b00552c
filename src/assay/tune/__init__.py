"""Making models whose attributions can be trusted: Distractor Erasure Tuning."""
