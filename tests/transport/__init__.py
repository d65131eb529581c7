"""Sessions: the conformance suite that every transport passes, and each transport's own tests."""
