"""One vectorised loop over seeds and controllers, under common random numbers."""
