"""Certificate authorities, by ACME."""
