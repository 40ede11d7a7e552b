"""What decides for a room at the relay: values in, values out."""
