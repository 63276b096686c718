"""One file per search parameter type: its index form and its query form side by side."""
