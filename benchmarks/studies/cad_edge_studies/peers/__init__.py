"""cad-edge beside anomalib: the same frames, threads and turns, in two environments.

The parent (`__main__`) runs in the project's environment and holds neither torch nor anomalib.
What is measured lives in worker processes, each of which times its own frames; the parent only says
whose turn it is. Modules named ``anomalib_*`` run in the other environment and import of ours the
workers' side of `instruments` alone.
"""
