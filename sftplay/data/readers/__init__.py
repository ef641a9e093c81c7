"""Raw files to pieces of rows: where they lie (sources), their bytes (stream), and one module for
each kind of file.
"""
