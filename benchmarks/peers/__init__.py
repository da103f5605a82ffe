"""Other trainers, as they are usually run. Each has a script with the same command line."""
