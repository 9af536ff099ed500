"""Checking a port against the golden reference, and naming the first stage that is wrong.

A *port* is any implementation of the method: a Python object, a shared library behind a C ABI, or
a program that speaks JSON lines. It is asked for stages by name (:data:`stages.STAGES`), on
inputs whose bits are fixed, and its answers are held against values on which two independent
oracles agree, within tolerances that are derived and never guessed.
"""
