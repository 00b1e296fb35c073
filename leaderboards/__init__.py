"""Specs, records and boards: the records on disk are the truth, MLflow is a view of them."""
