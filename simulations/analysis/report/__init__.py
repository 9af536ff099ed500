"""The page of answers, written from saved results alone."""
