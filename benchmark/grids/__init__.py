"""Many cells: which, in what order, on how many processes."""
