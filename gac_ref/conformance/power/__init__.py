"""How strong the suite is: ports with known faults, impostors, and correct ports that differ."""
