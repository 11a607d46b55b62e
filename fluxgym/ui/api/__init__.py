"""What the page requests from the server."""
