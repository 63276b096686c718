"""What providers tell us: receipts, and messages from patients."""
