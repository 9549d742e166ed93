"""Options of a run: command line, configuration file, defaults."""
