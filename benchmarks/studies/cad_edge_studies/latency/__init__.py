"""How long a frame takes beside the bare trunk."""
