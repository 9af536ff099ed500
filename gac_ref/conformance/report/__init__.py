"""What is made of a check: text, Markdown, one HTML page, JUnit XML; events are the only source.

:mod:`~gac_ref.conformance.report.events` reads and writes them, one JSON object a line, and
:mod:`~gac_ref.conformance.report.summary` turns them into the record that every form is drawn from.
"""
