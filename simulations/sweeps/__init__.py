"""Studies: declared points, one stored cell each, computed once, on one machine or many."""
