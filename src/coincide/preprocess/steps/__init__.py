"""The steps of a pipeline, a file for each kind."""
