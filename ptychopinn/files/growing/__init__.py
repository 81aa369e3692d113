"""Files to which a detector still appends: what of them has arrived, and whether it stays what it was."""
