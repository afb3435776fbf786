"""The stores of artifacts, each behind the port `app.domain.artifacts.ArtifactStore`."""
