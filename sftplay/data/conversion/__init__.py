"""Raw rows to processed rows: which files, in which format, checked, hashed and split."""
