"""Where resources are kept: current versions and history in MongoDB."""
