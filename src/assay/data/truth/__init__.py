"""Images whose evidence is known: annotated, planted, mosaics."""
