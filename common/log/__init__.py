"""What a relay keeps, unopened."""
