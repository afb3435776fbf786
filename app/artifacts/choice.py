"""The store that the settings ask for."""

from __future__ import annotations

from app.artifacts.files import FileStore
from app.artifacts.guarded import RULES, GuardedStore
from app.domain.artifacts import ArtifactStore
from app.observability.breakers import Guard
from app.settings import Settings


def artifact_store(settings: Settings) -> ArtifactStore:
    """Return Azure Blob Storage when it is configured, else files; nothing connects yet."""
    if not settings.azure_storage:
        return FileStore(settings.artifact_dir)
    # Of the extra `[azure]`: whoever keeps files needs none of it.
    from app.artifacts.azure import AzureStore  # noqa: PLC0415 - as above

    return GuardedStore(
        AzureStore(settings.azure_storage, settings.artifact_container), Guard("artifacts", RULES)
    )
