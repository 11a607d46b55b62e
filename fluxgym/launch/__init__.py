"""Starting, watching and stopping trainers: the command line, the supervisor that outlives the page, the verdict at the end."""
