"""One module for each verb of the command line: its configuration, its function and its result."""
