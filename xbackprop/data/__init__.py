"""Convert a user's table and targets to arrays on the device, and split them into batches."""
