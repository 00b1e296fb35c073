"""Slate recommenders behind one contract (base.py); found lazily by name (registry.py)."""
