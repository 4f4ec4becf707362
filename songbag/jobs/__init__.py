"""One whole job a file: they walk the pipeline."""
