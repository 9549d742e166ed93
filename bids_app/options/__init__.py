"""What is asked for: command line, configuration file, environment."""
