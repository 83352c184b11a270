"""What is written and read back: artifacts, bundles, manifests, objects, locks."""
