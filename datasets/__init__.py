"""Data: schema, cards, finding, loading, splits, leak audit, features. Knows nothing of the other rooms."""
