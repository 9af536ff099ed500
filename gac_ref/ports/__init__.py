"""Ports of the controller to training frameworks; each imports its framework, nothing else here."""
