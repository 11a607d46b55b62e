"""What is saved, and taken up again."""
