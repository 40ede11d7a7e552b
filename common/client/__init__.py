"""What runs a member: the loop, what reaches a relay, the command line."""
