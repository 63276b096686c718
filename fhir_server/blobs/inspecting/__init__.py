"""Looking into files, in a process of its own."""
