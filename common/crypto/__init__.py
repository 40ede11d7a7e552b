"""What bytes prove."""
