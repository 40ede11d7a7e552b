"""Tests of termchat: unit, sim and e2e, as DESIGN.md 9 sorts them."""
