"""One file a verb of the command line. Each has `main(arguments) -> exit code`."""
