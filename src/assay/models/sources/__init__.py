"""Where networks come from: names, files, checkpoints and factories."""
