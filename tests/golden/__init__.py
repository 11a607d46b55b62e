"""Values that independent code computed, with the scripts that made them."""
