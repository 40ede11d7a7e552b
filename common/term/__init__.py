"""What a screen shows, without curses."""
