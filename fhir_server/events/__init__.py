"""What happens, told to others: from the change feed to CloudEvents and to those who consume them (docs/events.md)."""
