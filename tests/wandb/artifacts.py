"""What a W&B server knows of artifacts: a table that a run logs is one, beside its file.

The questions are those of W&B's own client (its _generated operations, and the queries in its wandb-core).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class StoredArtifact:
    """An artifact as it was asked for, its files by path, and whether all of it arrived."""

    variables: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict)
    committed: bool = False


class ArtifactStore:
    """The artifacts of a server; home: the address that their files are uploaded to."""

    def __init__(self, home: str) -> None:
        self.home = home
        self.kept: dict[str, StoredArtifact] = {}
        self.answers = {
            "ArtifactType": self.type_of,
            "FetchArtifactDigestAlgorithm": lambda _: {"project": {"artifactType": None}},
            "CreateArtifact": self.create,
            "CreateArtifactFiles": self.addresses,
            "CreateArtifactManifest": self.manifest,
            "UpdateArtifactManifest": self.manifest,
            "CommitArtifact": self.commit,
            "RunOutputArtifacts": self.of_run,
        }

    def type_of(self, variables: dict[str, Any]) -> dict[str, Any]:
        """The answer to ArtifactType: none of the names that it is asked for exists yet."""
        return {"project": {"artifact": None}}

    def create(self, variables: dict[str, Any]) -> dict[str, Any]:
        """The answer to CreateArtifact: the same one for the same run, name and digest."""
        wanted = variables["input"]
        key = [wanted[name] for name in ("runName", "artifactCollectionName", "digest")]
        identity = "-".join(map(str, key))
        kept = self.kept.setdefault(identity, StoredArtifact(wanted))
        state = "COMMITTED" if kept.committed else "PENDING"
        artifact = {"id": identity, "state": state, "artifactSequence": {"latestArtifact": None}}
        return {"createArtifact": {"artifact": artifact}}

    def manifest(self, variables: dict[str, Any]) -> dict[str, Any]:
        """The answer to CreateArtifactManifest and UpdateArtifactManifest."""
        identity = variables.get("artifactID") or variables["artifactManifestID"]
        file = {"id": "f1", "uploadUrl": f"{self.home}/{identity}/manifest", "uploadHeaders": []}
        kind = "createArtifactManifest" if "artifactID" in variables else "updateArtifactManifest"
        return {kind: {"artifactManifest": {"id": identity, "file": file}}}

    def addresses(self, variables: dict[str, Any]) -> dict[str, Any]:
        """The answer to CreateArtifactFiles."""
        edges = []
        for file in variables["input"]["artifactFiles"]:
            identity, name = file["artifactID"], file["name"]
            node = {
                "storagePath": name,
                "uploadUrl": f"{self.home}/{identity}/{name}",
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
                "artifact": {"id": identity},
            }
            edges.append({"node": node})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def commit(self, variables: dict[str, Any]) -> dict[str, Any]:
        """The answer to CommitArtifact."""
        identity = variables["artifactID"]
        self.kept[identity].committed = True
        return {"commitArtifact": {"artifact": {"id": identity, "digest": "d"}}}

    def of_run(self, variables: dict[str, Any]) -> dict[str, Any]:
        """The answer to RunOutputArtifacts: W&B's client takes only whole ones."""
        project = {"id": "p1", "internalId": "1", "name": "fls-jax", "entity": {"name": "me"}}
        edges = []
        for identity, kept in self.kept.items():
            if not kept.committed or kept.variables["runName"] != variables["run"]:
                continue
            name = kept.variables["artifactCollectionName"]
            empty = ("description", "metadata", "historyStep", "commitHash", "updatedAt")
            node = dict.fromkeys(empty) | {
                "__typename": "Artifact",
                "ttlDurationSeconds": 0,
                "ttlIsInherited": True,
                "id": identity,
                "artifactSequence": {"__typename": "ArtifactSequence", "name": name, "project": project},
                "versionIndex": 0,
                "artifactType": {"name": kept.variables["artifactTypeName"]},
                "tags": [],
                "state": "COMMITTED",
                "size": sum(map(len, kept.files.values())),
                "digest": kept.variables["digest"],
                "digestAlgorithm": kept.variables["digestAlgorithm"],
                "fileCount": len(kept.files),
                "createdAt": "2024-01-01T00:00:00Z",
                "aliases": [],
            }
            edges.append({"cursor": identity, "node": node})
        page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        found = {"totalCount": len(edges), "pageInfo": page, "edges": edges}
        return {"project": {"run": {"artifacts": found}}}

    def take(self, path: str, body: bytes) -> None:
        """Take an uploaded file: path is its artifact's id and its name."""
        identity, name = path.split("/", 1)
        self.kept[identity].files[name] = body
