"""The builder of the conformance pack: inputs from seeds, answers from the 50-digit oracle.

One module a family of cases; ``release`` writes them all. Inputs come from the ``random`` module,
whose ``random()`` is the same on every platform and Python, and from arithmetic that IEEE 754
rounds correctly, so that the bytes of a pack can be made again anywhere.
"""
