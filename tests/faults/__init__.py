"""The fault suite: every fault tried many times, seeded and bounded. `make faults` runs all of it and prints a table; `make test` a short form."""
