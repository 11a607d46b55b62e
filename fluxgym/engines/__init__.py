"""Where runs execute: the local device queue and its supervisors."""
