"""Model families: the names and sizes of their original files, one file a family."""
