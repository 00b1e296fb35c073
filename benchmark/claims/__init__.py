"""The papers' statements: rules fixed beforehand, verdicts from records."""
