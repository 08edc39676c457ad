"""Where sessions and statistics are kept: one protocol, one implementation per database."""
