"""What a person sees: the client's terminal, by screen or by lines."""
