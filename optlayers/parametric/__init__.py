"""Data as functions of the parameters: symbolic while a set is recognised, torch maps afterwards."""
