"""How app and trainer open image files: formats and bounds, headers, the reader, and a pool of processes that decode."""
