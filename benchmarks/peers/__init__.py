"""Other people's trainers, as they are usually run, each measured by a script with the same command line."""
