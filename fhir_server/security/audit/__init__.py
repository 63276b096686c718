"""What is kept of who did what (docs/security/audit.md, docs/decisions/0034-audit-trail.md)."""
