"""Files: where they are, how they are read, unpacked and cached."""
