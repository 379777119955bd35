"""Drives the fake of Azure Key Vault with Microsoft's own client, through what the backend relies on.

usage: azure_fake_check.py https://127.0.0.1:PORT TENANT SECRET ASSERTION_FILE
"""

import sys

from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.identity import ClientSecretCredential, ManagedIdentityCredential, WorkloadIdentityCredential
from azure.keyvault.keys import KeyClient, KeyOperation
from azure.keyvault.keys.crypto import CryptographyClient, KeyWrapAlgorithm


def refused(status, code, call, *args, **kwargs):
    """By the service's own codes."""
    try:
        call(*args, **kwargs)
    except HttpResponseError as error:
        body = error.response.json()["error"]
        inner = body.get("innererror", {}).get("code")
        assert error.status_code == status and code in (body["code"], inner), (error.status_code, body)
        return
    raise AssertionError(f"{status} {code} was expected")


def main(vault, tenant, secret, assertion_file):
    where = {"authority": vault, "disable_instance_discovery": True}

    def client(credential):
        return KeyClient(vault_url=vault, credential=credential, verify_challenge_resource=False)

    keys = client(ClientSecretCredential(tenant, "app", secret, **where))
    made = keys.create_rsa_key(
        "from-python", size=2048, key_operations=[KeyOperation.wrap_key, KeyOperation.unwrap_key], tags={"team": "shop"}
    )
    assert made.name == "from-python" and made.properties.version and made.properties.enabled, made
    assert made.properties.tags == {"team": "shop"} and made.key_type == "RSA", made.properties.tags
    assert len(made.key.n) == 256 and made.key.e == b"\x01\x00\x01", made.key
    assert made.properties.recoverable_days == 7, made.properties.recoverable_days

    secret_bytes = b"\x07" * 64
    algorithm = KeyWrapAlgorithm.rsa_oaep_256
    # Given the public key it wraps here, in Python; given its address alone, and no right to read, at the fake.
    here = CryptographyClient(made, keys_credential := ClientSecretCredential(tenant, "app", secret, **where),
                              verify_challenge_resource=False)
    wrapped = here.wrap_key(algorithm, secret_bytes)
    assert wrapped.key_id == made.id and len(wrapped.encrypted_key) == 256, wrapped
    assert here.unwrap_key(algorithm, wrapped.encrypted_key).key == secret_bytes
    there = CryptographyClient(made.id, ClientSecretCredential(tenant, "no-read", secret, **where),
                               verify_challenge_resource=False)
    at_fake = there.wrap_key(algorithm, secret_bytes)
    assert at_fake.key_id == made.id and at_fake.encrypted_key != wrapped.encrypted_key
    opened = there.unwrap_key(algorithm, at_fake.encrypted_key)
    assert opened.key == secret_bytes and opened.key_id == made.id

    altered = at_fake.encrypted_key[:-1] + bytes([at_fake.encrypted_key[-1] ^ 1])
    refused(400, "BadParameter", there.unwrap_key, algorithm, altered)
    refused(404, "KeyNotFound", keys.get_key, "none")
    refused(404, "KeyNotFound", keys.get_key, "from-python", "0" * 32)

    rotated = keys.rotate_key("from-python")
    assert rotated.properties.version != made.properties.version
    assert keys.get_key("from-python").properties.version == rotated.properties.version
    newer = CryptographyClient(rotated.id, ClientSecretCredential(tenant, "no-read", secret, **where),
                               verify_challenge_resource=False)
    refused(400, "BadParameter", newer.unwrap_key, algorithm, at_fake.encrypted_key)
    assert there.unwrap_key(algorithm, at_fake.encrypted_key).key == secret_bytes
    keys.rotate_key("from-python")
    listed = list(keys.list_properties_of_key_versions("from-python"))
    assert len(listed) == 3 and made.properties.version in [of.version for of in listed], listed

    disabled = keys.update_key_properties("from-python", made.properties.version, enabled=False)
    assert disabled.properties.enabled is False
    refused(403, "KeyDisabled", there.unwrap_key, algorithm, at_fake.encrypted_key)
    keys.update_key_properties("from-python", made.properties.version, enabled=True, tags={"a": "b"})
    assert keys.get_key("from-python", made.properties.version).properties.tags == {"a": "b"}

    refused(403, "ForbiddenByRbac", client(ClientSecretCredential(tenant, "denied", secret, **where)).get_key, "from-python")
    refused(403, "ForbiddenByRbac", client(ClientSecretCredential(tenant, "crypto-user", secret, **where)).rotate_key,
            "from-python")
    try:
        client(ClientSecretCredential(tenant, "app", "wrong", **where)).get_key("from-python")
        raise AssertionError("a wrong secret gave a token")
    except ClientAuthenticationError:
        pass

    workload = WorkloadIdentityCredential(tenant_id=tenant, client_id="app", token_file_path=assertion_file, **where)
    assert client(workload).get_key("from-python").name == "from-python"
    assert client(ManagedIdentityCredential()).get_key("from-python").name == "from-python"
    assert client(ManagedIdentityCredential(client_id="app")).get_key("from-python").name == "from-python"

    deleted = keys.begin_delete_key("from-python").result()
    assert deleted.scheduled_purge_date > deleted.deleted_date and deleted.recovery_id, deleted
    refused(404, "KeyNotFound", keys.get_key, "from-python")
    assert keys.get_deleted_key("from-python").name == "from-python"
    refused(409, "ObjectIsDeletedButRecoverable", keys.create_rsa_key, "from-python")
    try:
        keys.get_deleted_key("none")
        raise AssertionError("404 was expected")
    except ResourceNotFoundError:
        pass
    del keys_credential
    print("Microsoft's own client and the fake agree")


main(*sys.argv[1:])
