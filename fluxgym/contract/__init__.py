"""What the app and the trainer must agree on. Standard library only; imported by both."""
