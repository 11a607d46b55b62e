"""The fault suite: every fault tried many times, seeded and bounded. `make faults` runs its groups and writes a table; `make test` a short form."""
