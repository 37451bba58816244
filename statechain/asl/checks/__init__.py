"""Model → diagnostics: where states lead, and what fields and variables hold."""
