"""What a scan keeps: tables, stores, what they say about themselves, and their exports."""
