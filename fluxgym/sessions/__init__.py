"""Operations on runs: create, resume, stop, list, history, transfer, cleanup. The page and the CLI call the same functions."""
