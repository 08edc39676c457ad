"""Makes the pages of docs/ that are read from the code, and `.env.example`."""
