"""kohya's flags: parser, support table, config file."""
