"""One running deployment: its claim, its lease, its plan and the context of its steps."""
