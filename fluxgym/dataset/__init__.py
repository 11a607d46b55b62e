"""Pictures and captions before and at Start: checking them, the folder they lie in, the buckets they fall into, dataset.toml."""
