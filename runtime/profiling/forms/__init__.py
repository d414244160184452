"""A profile, or a comparison of two, as table, JSON, CSV, Markdown and trace."""
