"""A procedural assembly: a kit tray whose items follow rules of place, count and pairing.

Everything is drawn from seeds: equal seeds give equal bytes. A logical defect is another set of
ordinary items, rendered as any other; a local one is damage to a tray that keeps all rules.
"""
