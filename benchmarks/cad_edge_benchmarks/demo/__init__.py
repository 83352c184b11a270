"""`cad-edge demo`: three real surfaces from photograph to verdict, and a report of how it went."""
