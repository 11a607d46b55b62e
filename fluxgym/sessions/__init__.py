"""What people do with runs: list them, start, stop and resume them, and what is kept before Start. The page and the terminal call the same."""
