"""A fitted run at work: asked by hand, timed, exported."""
