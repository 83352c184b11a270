"""What eight bits cost and save."""
