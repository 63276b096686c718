"""What one resource type does beyond the generic."""
