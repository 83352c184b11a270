"""Things that measure: time, memory, machine, figures and what they are taken on."""
