"""Texts and items as vectors."""
