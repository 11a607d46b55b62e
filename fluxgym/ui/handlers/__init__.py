"""What happens when somebody does something on the page: a file for each part of it."""
