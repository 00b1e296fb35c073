"""One cell, from what was asked to its record."""
