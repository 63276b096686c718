"""Channels, and the providers that deliver over them."""
