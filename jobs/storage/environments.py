"""The stored form of a release's variables: one sealed JSON object."""

import json

from pydantic import SecretStr

from jobs.rules.variables import Environment, Variable
from jobs.storage.vault import Vault


def seal_environment(environment: Environment, vault: Vault) -> bytes:
    """Seal variables into the form that a release stores."""
    plain = {
        name: [variable.value.get_secret_value(), variable.is_secret]
        for name, variable in environment.items()
    }
    return vault.seal(SecretStr(json.dumps(plain)))


def open_environment(sealed: bytes, vault: Vault) -> dict[str, Variable]:
    """Open a release's sealed variables.

    Raises:
        ConfigurationError: none of the vault's keys opens them.
    """
    plain = json.loads(vault.open(sealed).get_secret_value())
    return {
        name: Variable(SecretStr(value), is_secret) for name, (value, is_secret) in plain.items()
    }
