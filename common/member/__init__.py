"""What a member knows and the relay does not."""
