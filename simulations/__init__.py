"""Simulations: programs run from a checkout that call `gac_ref`; none of this is in the wheel."""
