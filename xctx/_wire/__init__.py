"""The wire: baggage, and the fields that go into it."""
