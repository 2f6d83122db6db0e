# Imported for what it does: it has no names.
