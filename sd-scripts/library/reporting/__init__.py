"""What is told while it runs."""
