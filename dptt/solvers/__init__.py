"""The algorithms of [P]: they know a loss and a communicator, no file and no YAML."""
