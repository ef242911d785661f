"""What Keystone keeps: tables, migrations, the vault, deployment logs."""
