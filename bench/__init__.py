"""Measurements of the server: `script/bench`."""
