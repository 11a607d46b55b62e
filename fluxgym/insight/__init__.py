"""What can be told before and about a training: preflight checks and the machine's figures."""
