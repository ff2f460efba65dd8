"""From a user's table and targets to batches on the device."""
