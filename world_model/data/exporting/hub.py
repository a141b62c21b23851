"""Sends a folder to the Hugging Face Hub."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from world_model.errors import DataError


class HubApi(Protocol):
    """What is needed of ``huggingface_hub.HfApi``."""

    def create_repo(self, repo_id: str, **settings: Any) -> Any:
        """Makes a repository."""

    def upload_large_folder(self, repo_id: str, folder_path: str, **settings: Any) -> Any:
        """Uploads a folder, going on where an upload was interrupted."""

    def delete_tag(self, repo_id: str, **settings: Any) -> None:
        """Removes a tag."""

    def create_tag(self, repo_id: str, **settings: Any) -> None:
        """Gives the newest revision a tag."""


def push(
    folder: Path,
    repo: str,
    *,
    private: bool = False,
    tag: str | None = None,
    api: HubApi | None = None,
) -> str:
    """Uploads ``folder`` as the data set ``repo``; returns its address.

    Args:
        folder: what to upload.
        repo: ``NAME/DATA_SET``.
        private: whether only its owner sees it, where it is new.
        tag: for what was uploaded; LeRobot loads data sets by that of their version only.
        api: who speaks with the Hub (default: ``huggingface_hub``, logged in as on this machine).

    Raises:
        DataError: if the Hub refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        RevisionNotFoundError,
    )

    hub: Any = HfApi() if api is None else api
    try:
        hub.create_repo(repo, repo_type="dataset", private=private, exist_ok=True)
        hub.upload_large_folder(repo, str(folder), repo_type="dataset")
        if tag is not None:
            with suppress(RevisionNotFoundError):  # it may point to an earlier upload
                hub.delete_tag(repo, tag=tag, repo_type="dataset")
            hub.create_tag(repo, tag=tag, repo_type="dataset")
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        raise DataError(
            f"could not upload {folder} to {repo}: {str(error).strip().splitlines()[0]}. Log in "
            "with 'hf auth login', and give the repository as NAME/DATA_SET."
        ) from error
    return f"https://huggingface.co/datasets/{repo}"
