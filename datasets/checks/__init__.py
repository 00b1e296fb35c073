"""What is said of data before they are used: verify, audit, export."""
