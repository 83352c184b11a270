"""Which settings carry over to categories they were not chosen on."""
