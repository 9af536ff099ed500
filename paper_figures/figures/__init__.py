"""One figure or table a file, each with a constant ``FIGURE``."""
