"""What both processes do the same way: read settings, write logs, name requests."""
