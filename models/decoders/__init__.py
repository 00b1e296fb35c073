"""Systems that write a slate code by code."""
