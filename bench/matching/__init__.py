"""Quality of matching: see docs/matching.md."""
