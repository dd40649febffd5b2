"""A site is what its file says, or one clear error."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from vesalius.errors import OptionError, RunError
from vesalius.stages.serve.site import Route, is_loopback, load_site

WHOLE = '''
ae_title = "LUNGBOX"
quiet_s = 5
release = "automatic"
release_signed_by = "Dr. A"
release_reason = "trial 7"
[models]
lung = "runs/lung"
[[peers]]
name = "pacs"
ae_title = "PACS"
host = "10.0.0.2"
port = 104
[[routes]]
model = "lung"
modality = "ct"
description = "*CHEST*"
send_to = ["pacs"]
[[users]]
name = "reader1"
token_sha256 = "AB{}"
expires = 2030-01-01T00:00:00Z
[limits]
max_files = 7
'''.replace("{}", "0" * 62)


def written(folder: Path, text: str) -> Path:
    (folder / "site.toml").write_text(text, "utf-8")
    return folder


def test_without_a_file_a_site_serves_this_machine_only(tmp_path: Path) -> None:
    site = load_site(tmp_path / "absent", [tmp_path / "my run"])
    assert site.models == {"my-run": tmp_path / "my run"} and site.loopback and site.url == f"sqlite:///{tmp_path / 'absent' / 'vesalius.db'}"
    assert site.release == "person" and site.all_routes() == (Route(model="my-run"),)


def test_the_whole_file(tmp_path: Path) -> None:
    site = load_site(written(tmp_path, WHOLE), http_port=1, dicom_port=None)
    assert (site.ae_title, site.quiet_s, site.http_port, site.dicom_port, site.limits.max_files) == ("LUNGBOX", 5.0, 1, 11112, 7)
    assert site.models == {"lung": tmp_path / "runs/lung"} and site.peer("pacs").port == 104
    assert site.users[0].token_sha256 == "ab" + "0" * 62
    assert site.users[0].expires == datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC).timestamp()
    (route,) = site.all_routes()
    assert route.matches(called_ae="x", modality="CT", body_part="", description="ct chest") and not route.matches(
        called_ae="x", modality="MR", body_part="", description="ct chest")


def test_two_models_have_no_route_by_themselves(tmp_path: Path) -> None:
    assert load_site(tmp_path, {"a": tmp_path, "b": tmp_path}).all_routes() == ()


@pytest.mark.parametrize(("text", "told"), [
    ("ae_titel = 'X'\n[models]\nm='r'", "unknown setting 'ae_titel' .*expected ae_title"),
    ("[models]\nm='r'\n[[peers]]\nname='p'\nae_title='P'\nhost='h'\nport=1\ncolour='x'", "unknown setting 'peers.0.colour'"),
    ("[models]\nm='r'\n[limits]\nmax_file=1", "unknown setting 'limits.max_file' .*expected max_files"),
    ("ae_title = 'WAY TOO LONG A TITLE'\n[models]\nm='r'", "the setting 'ae_title' cannot be used"),
    ("dicom_port = 70000\n[models]\nm='r'", "the setting 'dicom_port' cannot be used"),
    ("models = 3", r"\[models\] is not a table"),
    ("", "the site has no model"),
    ("[models]\nm='r'\n[[routes]]\nmodel='n'", "a route leads to the unknown model 'n'"),
    ("[models]\nm='r'\n[[routes]]\nmodel='m'\nsend_to=['p']", "unknown peer 'p'"),
    ("release='automatic'\n[models]\nm='r'", "results would leave without a doctor and nobody signs for it"),
    ("host='0.0.0.0'\n[models]\nm='r'", r"host 0.0.0.0 can be reached from other machines .*no \[\[users\]\] and no \[tls\]"),
    ("[models]\nm='r'\n[[users]]\nname='a'\n[[users]]\nname='a'", "two users are called 'a'"),
    ("[models]\n'a b'='r'", "the setting 'models.a b.*' cannot be used"),
])
def test_what_cannot_be_is_one_error(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        load_site(written(tmp_path, text))


def test_a_file_that_is_no_toml_or_unreadable(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="the site's configuration is no TOML"):
        load_site(written(tmp_path, "a = = 1"))
    (tmp_path / "site.toml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(RunError, match="the site's configuration is no TOML"):
        load_site(tmp_path)


def test_two_models_of_one_name(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="two models are called 'run'"):
        load_site(tmp_path, [tmp_path / "a" / "run", tmp_path / "b" / "run"])


def test_users_and_tls_open_the_site(tmp_path: Path) -> None:
    site = load_site(tmp_path, {"m": tmp_path}, host="0.0.0.0", users=[{"name": "a"}], tls={"certificate": "c.pem", "key": "k.pem"})
    assert not site.loopback and not is_loopback("example")
