"""What a researcher wants to know about the method: theory and simulation side by side.

A question is a package here. Its `parts` are what is computed and saved; its `section` is the
answer, read from what was saved.
"""
