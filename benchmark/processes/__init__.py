"""Child processes that may hang, leak or die."""
