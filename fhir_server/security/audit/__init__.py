"""What is kept of who did what (docs/security/audit.md, docs/decisions/0036-audit-trail.md)."""
