"""Token, Host and Origin checks in front of every route."""
