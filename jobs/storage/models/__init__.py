"""The tables, one class each. `jobs.records` writes them, `jobs.reads` reads them.

Times are aware, in UTC. No column holds a secret in plain text: a column named `sealed` holds bytes
encrypted by `jobs.storage.vault`.
"""

from jobs.storage.columns import now
from jobs.storage.models.access import ApiToken, AuditEvent, LoginSession, User
from jobs.storage.models.apps import (
    App,
    BlockedPort,
    Certificate,
    Domain,
    EnvironmentVariable,
    Repository,
    RepositorySecret,
    SecretKind,
    TokenUse,
)
from jobs.storage.models.catch_up import BranchHead, CatchUp
from jobs.storage.models.deployments import (
    CommitStatus,
    Delivery,
    Deployment,
    Lease,
    RefusalCount,
    RefusedDelivery,
    Release,
    Step,
)
from jobs.storage.models.keystone import (
    DomainPort,
    EngineItem,
    Identity,
    ItemKind,
    SchemaUse,
    VaultKey,
    Vitals,
)

__all__ = [
    "ApiToken",
    "App",
    "AuditEvent",
    "BlockedPort",
    "BranchHead",
    "CatchUp",
    "Certificate",
    "CommitStatus",
    "Delivery",
    "Deployment",
    "Domain",
    "DomainPort",
    "EngineItem",
    "EnvironmentVariable",
    "Identity",
    "ItemKind",
    "Lease",
    "LoginSession",
    "RefusalCount",
    "RefusedDelivery",
    "Release",
    "Repository",
    "RepositorySecret",
    "SchemaUse",
    "SecretKind",
    "Step",
    "TokenUse",
    "User",
    "VaultKey",
    "Vitals",
    "now",
]
