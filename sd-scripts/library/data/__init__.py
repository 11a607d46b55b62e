"""Data sets: schema, image index, transforms, captions, caches, batches."""
