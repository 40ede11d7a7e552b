"""What the relay and its members share: pure code that owns no thread, terminal or clock."""
