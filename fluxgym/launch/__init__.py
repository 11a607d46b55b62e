"""Module paths of earlier versions, kept for supervisors that are alive during an upgrade."""
