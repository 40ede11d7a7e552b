"""What travels between client and relay."""
