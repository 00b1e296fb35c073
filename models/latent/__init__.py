"""Systems to which a slate is points in a vector space."""
