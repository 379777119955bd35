"""Drives the fake of Google Cloud KMS with Google's own client, through what the backend relies on.

usage: gcp_fake_check.py http://127.0.0.1:PORT PROJECT_LOCATION_RING
"""

import sys

import google_crc32c
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import kms_v1 as kms
from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceRestTransport
from google.protobuf import duration_pb2, field_mask_pb2


def crc(data):
    return int(google_crc32c.value(data))


def refused(status, call, *args, **kwargs):
    """By the service's own code: this transport tells errors apart by HTTP status only."""
    try:
        call(*args, **kwargs)
    except exceptions.GoogleAPICallError as error:
        assert error.response.json()["error"]["status"] == status, error
        return
    raise AssertionError(f"{status} was expected")


def main(endpoint, ring):
    host = endpoint.removeprefix("http://")
    transport = KeyManagementServiceRestTransport(host=host, credentials=AnonymousCredentials(), url_scheme="http")
    client = kms.KeyManagementServiceClient(transport=transport)
    state = kms.CryptoKeyVersion.CryptoKeyVersionState

    key = client.create_crypto_key(
        parent=ring,
        crypto_key_id="from-python",
        crypto_key=kms.CryptoKey(
            purpose=kms.CryptoKey.CryptoKeyPurpose.ENCRYPT_DECRYPT,
            version_template=kms.CryptoKeyVersionTemplate(
                algorithm=kms.CryptoKeyVersion.CryptoKeyVersionAlgorithm.GOOGLE_SYMMETRIC_ENCRYPTION,
                protection_level=kms.ProtectionLevel.HSM,
            ),
            destroy_scheduled_duration=duration_pb2.Duration(seconds=172800),
            labels={"team": "shop"},
        ),
    )
    assert key.name == f"{ring}/cryptoKeys/from-python", key
    assert key.primary.state == state.ENABLED and key.primary.protection_level == kms.ProtectionLevel.HSM, key
    assert key.destroy_scheduled_duration.total_seconds() == 172800, key
    refused("ALREADY_EXISTS", client.create_crypto_key, parent=ring, crypto_key_id="from-python", crypto_key=key)
    refused("NOT_FOUND", client.get_crypto_key, name=key.name + "-none")

    secret, aad = b"\x07" * 32, b"some context"

    def encrypt(**more):
        request = {"name": key.name, "plaintext": secret, "additional_authenticated_data": aad, **more}
        return client.encrypt(request=request)

    def decrypt(ciphertext, aad=aad, **more):
        request = {"name": key.name, "ciphertext": ciphertext, "additional_authenticated_data": aad, **more}
        return client.decrypt(request=request)

    bare = encrypt()
    assert not bare.verified_plaintext_crc32c and not bare.verified_additional_authenticated_data_crc32c, bare
    first = encrypt(plaintext_crc32c=crc(secret), additional_authenticated_data_crc32c=crc(aad))
    assert first.verified_plaintext_crc32c and first.verified_additional_authenticated_data_crc32c, first
    assert first.name == key.name + "/cryptoKeyVersions/1", first
    assert first.ciphertext_crc32c == crc(first.ciphertext), first
    opened = decrypt(first.ciphertext, ciphertext_crc32c=crc(first.ciphertext))
    assert opened.plaintext == secret and opened.plaintext_crc32c == crc(secret) and opened.used_primary, opened

    refused("INVALID_ARGUMENT", encrypt, plaintext_crc32c=crc(secret) ^ 1)
    refused("INVALID_ARGUMENT", encrypt, additional_authenticated_data_crc32c=crc(aad) ^ 1)
    refused("INVALID_ARGUMENT", decrypt, first.ciphertext, ciphertext_crc32c=1)
    refused("INVALID_ARGUMENT", decrypt, first.ciphertext, aad=b"another context")
    refused("INVALID_ARGUMENT", decrypt, first.ciphertext[:-1] + bytes([first.ciphertext[-1] ^ 1]))
    refused("INVALID_ARGUMENT", encrypt, plaintext=b"x" * 65537)
    encrypt(plaintext=b"x" * 65536)

    second = client.create_crypto_key_version(parent=key.name, crypto_key_version=kms.CryptoKeyVersion())
    assert second.name.endswith("/cryptoKeyVersions/2") and second.state == state.ENABLED, second
    assert encrypt().name.endswith("/1")
    client.update_crypto_key_primary_version(request={"name": key.name, "crypto_key_version_id": "2"})
    assert encrypt().name == second.name
    assert not decrypt(first.ciphertext).used_primary
    client.create_crypto_key_version(parent=key.name, crypto_key_version=kms.CryptoKeyVersion())
    listed = [version.name.rsplit("/", 1)[1] for version in client.list_crypto_key_versions(parent=key.name)]
    assert listed == ["1", "2", "3"], listed

    old = key.name + "/cryptoKeyVersions/1"
    mask = field_mask_pb2.FieldMask(paths=["state"])

    def set_state(value):
        return client.update_crypto_key_version(
            crypto_key_version=kms.CryptoKeyVersion(name=old, state=value), update_mask=mask
        )

    assert set_state(state.DISABLED).state == state.DISABLED
    refused("FAILED_PRECONDITION", decrypt, first.ciphertext)
    set_state(state.ENABLED)
    decrypt(first.ciphertext)
    destroyed = client.destroy_crypto_key_version(name=old)
    assert destroyed.state == state.DESTROY_SCHEDULED and destroyed.destroy_time > destroyed.create_time, destroyed
    refused("FAILED_PRECONDITION", client.destroy_crypto_key_version, name=old)
    refused("FAILED_PRECONDITION", decrypt, first.ciphertext)
    assert client.restore_crypto_key_version(name=old).state == state.DISABLED

    labeled = client.update_crypto_key(
        crypto_key=kms.CryptoKey(name=key.name, labels={"a": "b"}), update_mask={"paths": ["labels"]}
    )
    assert dict(labeled.labels) == {"a": "b"}, labeled
    print("Google's own client and the fake agree")


main(*sys.argv[1:])
