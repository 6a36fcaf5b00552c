"""The networks that Assay builds itself."""
