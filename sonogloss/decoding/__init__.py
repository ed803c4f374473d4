"""Language models: loading them, and letting them continue a prompt."""
