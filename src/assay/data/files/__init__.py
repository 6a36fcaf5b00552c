"""Images in files: folders, tars, Parquet, and how they become pixels."""
