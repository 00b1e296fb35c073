"""The one training path of all neural models."""
