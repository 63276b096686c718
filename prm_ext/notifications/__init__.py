"""Notifications: CommunicationRequests that become delivered Communications (docs/notifications/README.md)."""
