"""Emails that come in (docs/notifications/inbound.md)."""
