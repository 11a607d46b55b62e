"""What several tests share: converters to the references, small models, real processes."""
