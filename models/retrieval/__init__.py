"""Floors, retrieval and what learns a prompt's slate in one step."""
