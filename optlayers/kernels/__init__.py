"""Fast forms of the closed forms' loops; the plain torch forms in `optlayers/sets` are their specification."""
