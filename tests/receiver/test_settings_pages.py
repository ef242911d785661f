"""The settings pages before the real receiver: forms that work, are refused, and stay private."""

import re
from collections.abc import Mapping
from dataclasses import replace

import pytest
from pydantic import SecretStr
from sqlmodel import select
from starlette.testclient import TestClient

from dashboard.app_fields import CONFIGURATION, DOMAINS, FIELDS, TOKEN
from dashboard.forms import Kind
from jobs.reads.apps import find_app
from jobs.reads.variables import open_variables
from jobs.records.repositories import drop_webhook_secrets
from jobs.rules.app_fields import AppChange
from jobs.states import Role
from jobs.storage.models import AuditEvent, Repository
from receiver.access import SAFE_METHODS
from receiver.api.questions import MOST_AT_ONCE
from receiver.app import create_app
from receiver.endpoints import ENDPOINTS
from receiver.routing import Endpoint
from receiver.settings_pages import SETTINGS_PAGES
from tests.builders import (
    TESTER,
    WebRuntime,
    make_app,
    make_deployment,
    make_user,
)
from tests.certificates import Authority
from tests.conftest import GLOBAL_SECRET
from tests.receiver.settings_forms import SETTINGS, Browser, browser_of, problem, shown, tags, view

SECRET = "planted-and-never-to-be-seen-again"
ALL_BUT_TOKEN = [one.name for one in (*CONFIGURATION, DOMAINS)]


# --- Configuration ---------------------------------------------------------------------------


def test_every_field_of_an_app_has_its_place_on_a_page() -> None:
    named = [one.name for one in (*CONFIGURATION, DOMAINS, FIELDS["host_port"], TOKEN)]
    assert sorted(named) == sorted(AppChange.model_fields)


def test_saving_what_nobody_touched_changes_nothing(ada: Browser, runtime: WebRuntime) -> None:
    make_app(runtime, command=["sh", "-c", "exec web"], labels={"tier": "a=b"}, cpus=1.5)
    before, recorded = view(runtime), tags(runtime)
    form = shown(ada.page(SETTINGS))
    assert set(form) >= {one.name for one in CONFIGURATION if one.kind != Kind.SWITCH}
    assert (form["auto_deploy"], form["init"]) == ("true", "true")
    assert form["command"] == "sh\n-c\nexec web"
    ada.done(SETTINGS, "save", **form)
    assert view(runtime) == before
    assert tags(runtime) == recorded


def test_fields_are_changed_emptied_and_switched_off(
    ada: Browser, web: None, runtime: WebRuntime
) -> None:
    form = shown(ada.page(SETTINGS))
    del form["auto_deploy"]
    form |= {"memory_mb": " 256 ", "health_path": "/up", "skip_phrases": "", "labels": "a=1\r\nb=2"}
    assert "Saved." in ada.done(SETTINGS, "save", **form)
    app = view(runtime)
    assert (app.memory_mb, app.health_path, app.skip_phrases) == (256, "/up", ())
    assert (app.labels, app.auto_deploy) == ({"a": "1", "b": "2"}, False)
    ada.done(SETTINGS, "save", **shown(ada.page(SETTINGS)) | {"health_path": ""})
    assert view(runtime).health_path is None


def test_an_argument_with_a_line_break_is_left_as_it_is_and_can_be_changed(
    ada: Browser, runtime: WebRuntime
) -> None:
    make_app(
        runtime,
        command=["sh", "-c", "set -e\n exec web", ""],
        labels={"a": "x\ny=1"},
        skip_phrases=["wip "],
    )
    before = view(runtime)
    form = shown(ada.page(SETTINGS))
    assert form["command"] == 'sh\n-c\n"set -e\\n exec web"\n""'
    ada.done(SETTINGS, "save", **form | {"memory_mb": "700"})
    assert view(runtime) == before.model_copy(
        update={"memory_mb": 700, "needs_redeploy": view(runtime).needs_redeploy}
    )
    form = shown(ada.page(SETTINGS))
    for name in ("command", "labels", "skip_phrases"):
        form[name] += {"command": "\r\nlast", "labels": "\r\nb=2", "skip_phrases": "\r\nnever"}[
            name
        ]
    ada.done(SETTINGS, "save", **form)
    after = view(runtime)
    assert after.command == ("sh", "-c", "set -e\n exec web", "", "last")
    assert after.labels == {"a": "x\ny=1", "b": "2"}
    assert after.skip_phrases == ("wip ", "never")


def test_a_line_in_quotes_that_is_no_json_is_marked(
    ada: Browser, web: None, runtime: WebRuntime
) -> None:
    typed = shown(ada.page(SETTINGS)) | {"command": 'sh\n"open', "memory_mb": "much"}
    html = ada.refused(SETTINGS, "save", **typed)
    assert problem(html, "command").startswith("Entry 2: begins with &#34;, so it must be a whole")
    assert "valid integer" in problem(html, "memory_mb")
    assert shown(html)["command"] == 'sh\n"open'
    assert view(runtime).command is None


def test_a_refused_form_keeps_every_value_and_says_what_is_wrong_beside_it(
    ada: Browser, web: None, runtime: WebRuntime
) -> None:
    typed = shown(ada.page(SETTINGS)) | {
        "memory_mb": "much",
        "branch": "a b",
        "volumes": "data:/var/lib/web\r\nlogs",
        "dockerfile": "<b>.Dockerfile",
    }
    html = ada.refused(SETTINGS, "save", **typed)
    assert "valid integer" in problem(html, "memory_mb")
    assert problem(html, "branch") == "Is not a branch name that git allows."
    assert problem(html, "volumes").startswith("Entry 2: must mount the volume")
    assert problem(html, "dockerfile") == ""
    assert 'value="&lt;b&gt;.Dockerfile"' in html
    kept = shown(html)
    assert (kept["memory_mb"], kept["branch"]) == ("much", "a b")
    assert 'aria-invalid="true" aria-describedby="app-memory_mb-problem' in html
    assert view(runtime).branch == "main"


def test_a_form_that_nobody_meant_is_refused(ada: Browser, web: None, runtime: WebRuntime) -> None:
    ada.csrf_token = "guessed"
    assert ada.send(SETTINGS, "save", branch="other").status_code == 403
    assert ada.send(f"{SETTINGS}/remove", "remove-app", confirm="web").status_code == 403
    assert view(runtime).branch == "main"


@pytest.mark.parametrize("endpoint", SETTINGS_PAGES, ids=lambda endpoint: endpoint.path)
def test_every_form_needs_the_sessions_token(
    ada: Browser, web: None, runtime: WebRuntime, endpoint: Endpoint
) -> None:
    before, ada.csrf_token = tags(runtime), "guessed"
    _, sheets = endpoint.handler.args  # type: ignore[attr-defined]
    fields = {"name": "ada", "id": "1", "variable": "A", "domain": "example.com", "confirm": "web"}
    for do in (*sheets, "everything"):
        assert ada.send(endpoint.path.format(app="web"), do, **fields).status_code == 403
    assert tags(runtime) == before


@pytest.mark.parametrize("endpoint", SETTINGS_PAGES, ids=lambda endpoint: endpoint.path)
def test_a_form_nobody_knows_is_refused(ada: Browser, web: None, endpoint: Endpoint) -> None:
    assert ada.send(endpoint.path.format(app="web"), "everything").status_code == 400


# --- Adding and removing ---------------------------------------------------------------------


def test_an_app_is_added_and_its_secret_shown_once(ada: Browser, runtime: WebRuntime) -> None:
    form = shown(ada.page("/apps/new")) | {"name": "shop", "repository": "octo/shop"}
    answer = ada.send("/apps/new", "add-app", **form | {"token": SECRET})
    assert answer.status_code == 201
    assert SECRET not in answer.text
    found = re.search(r'aria-label="Secret"><code>([^<]{20,})<', answer.text)
    assert found
    assert "/webhooks/github" in answer.text
    for address in ("/apps/shop", "/apps/shop/settings", "/apps/shop/settings/repository"):
        assert found[1] not in ada.page(address)
    assert view(runtime, "shop").token_set


def test_a_second_app_of_a_repository_needs_no_new_webhook(ada: Browser, web: None) -> None:
    form = shown(ada.page("/apps/new")) | {"name": "two", "repository": "octo/web"}
    assert "has its webhook already" in ada.send("/apps/new", "add-app", **form).text


def test_a_refused_new_app_opens_what_is_folded_and_forgets_the_token(
    ada: Browser, web: None
) -> None:
    form = shown(ada.page("/apps/new")) | {"name": "shop", "repository": "shop", "cpus": "many"}
    html = ada.refused("/apps/new", "add-app", **form | {"token": SECRET})
    assert "owner/name" in problem(html, "repository")
    assert problem(html, "cpus")
    assert "<details open>" in html
    assert shown(html)["name"] == "shop"
    assert SECRET not in html
    form |= {"repository": "octo/shop", "cpus": "", "name": "web"}
    assert "There is an app named web already." in ada.refused("/apps/new", "add-app", 409, **form)
    assert "another name" in problem(
        ada.refused("/apps/new", "add-app", **form | {"name": "new"}), "name"
    )


def test_an_app_goes_only_when_its_name_is_typed(
    ada: Browser, web: None, runtime: WebRuntime
) -> None:
    address = f"{SETTINGS}/remove"
    assert (
        "type web" in problem(ada.refused(address, "remove-app", confirm="wbe"), "confirm").lower()
    )
    made = make_deployment(runtime)
    assert f"#{made.number}" in ada.refused(address, "remove-app", 409, confirm="web")
    ada.client.post(f"/api/deployments/{made.id}/cancel", headers={"x-csrf-token": ada.csrf_token})
    assert (
        ada.send(address, "remove-app", confirm="web").headers["location"]
        == "/?done=remove-app-last"
    )
    assert "Not found" in ada.page(SETTINGS, 404)


# --- Variables, domains, repository ----------------------------------------------------------


def test_variables_come_in_and_never_out(ada: Browser, web: None, runtime: WebRuntime) -> None:
    address = f"{SETTINGS}/variables"
    html = ada.done(address, "set-variable", variable="KEY", value=f"{SECRET}\r\n2", secret="true")
    assert "<code>KEY</code>" in html
    assert SECRET not in html
    ada.done(address, "set-variable", variable="PLAIN", value="")
    with runtime.database.reading() as session:
        kept = open_variables(session, find_app(session, "web"), runtime.vault)
    assert kept["KEY"].value.get_secret_value() == f"{SECRET}\n2"
    assert (kept["KEY"].is_secret, kept["PLAIN"].is_secret) == (True, False)
    assert "<code>KEY</code>" not in ada.done(address, "unset-variable", variable="KEY")


def chosen_kind(html: str) -> str:
    """Give the kind that the form for one variable shows."""
    found = re.search(r'id="variable-secret".*?value="([^"]*)" selected', html, re.DOTALL)
    return found[1] if found else "none"


def test_a_refused_variable_keeps_its_value_unless_it_is_secret(ada: Browser, web: None) -> None:
    address, sent = f"{SETTINGS}/variables", {"variable": "A/B", "value": SECRET}
    assert SECRET in ada.refused(address, "set-variable", **sent, secret="false")
    for kind in ("true", ""):
        html = ada.refused(address, "set-variable", **sent, secret=kind)
        assert SECRET not in html
        assert shown(html)["variable"] == "A/B"
        assert chosen_kind(html) == kind
        assert "has letters, digits and the signs" in html


def test_a_variable_is_no_secret_unless_it_looks_like_one(
    ada: Browser, web: None, runtime: WebRuntime
) -> None:
    address = f"{SETTINGS}/variables"
    assert chosen_kind(ada.page(address)) == ""
    html = ada.done(address, "set-variable", variable="MODE", value="production", secret="")
    assert "is set, and is not a secret" in html
    html = ada.done(address, "set-variable", variable="API_KEY", value=SECRET, secret="")
    assert "is set as a secret; the container" in html
    html = ada.done(address, "set-variable", variable="PASSWORD", value="production", secret="")
    assert "logs show its value" in html
    with runtime.database.reading() as session:
        kept = open_variables(session, find_app(session, "web"), runtime.vault)
    assert {name: each.is_secret for name, each in kept.items()} == {
        "API_KEY": True,
        "MODE": False,
        "PASSWORD": True,
    }


def test_a_file_of_variables_is_imported_or_refused_whole(
    ada: Browser, web: None, runtime: WebRuntime
) -> None:
    address = f"{SETTINGS}/variables"
    text = f"\ufeffMODE=fast\r\nAPI_KEY='{SECRET}'\r\n"
    bad = f"{text}no such line\r\nPORT=1\r\n"
    html = ada.refused(address, "import-variables", text=bad, secret="")
    assert "Line 3: is not NAME=value." in html
    assert "Line 4: PORT: Keystone sets this one itself." in html
    assert SECRET not in html
    assert SECRET in ada.refused(address, "import-variables", text=bad, secret="false")
    assert "<code>MODE</code>" not in ada.page(address)
    html = ada.done(address, "import-variables", text=text, secret="")
    assert "The variables are set" in html
    assert SECRET not in html
    with runtime.database.reading() as session:
        kept = open_variables(session, find_app(session, "web"), runtime.vault)
    assert {name: each.is_secret for name, each in kept.items()} == {"API_KEY": True, "MODE": False}
    assert kept["API_KEY"].value.get_secret_value() == SECRET


def test_a_payload_url_that_github_cannot_reach_has_a_warning_where_it_is_shown(
    ada: Browser, web: None, runtime: WebRuntime
) -> None:
    for address in ("/apps/web", f"{SETTINGS}/repository", "/deliveries"):
        assert "GitHub cannot reach http://testserver/webhooks/github" in ada.page(address)
    ada.send(f"{SETTINGS}/remove", "remove-app", confirm="web")
    assert "GitHub cannot reach http://testserver/webhooks/github" in ada.page("/")


def test_what_may_be_secret_is_typed_behind_a_mask(ada: Browser, runtime: WebRuntime) -> None:
    make_app(runtime, domains=["web.example.com"])
    masked = r'<textarea class=masked id="[^"]+" name="{}"'
    assert re.search(masked.format("value"), ada.page(f"{SETTINGS}/variables"))
    domains = ada.page(f"{SETTINGS}/domains")
    assert re.search(masked.format("key"), domains)
    assert not re.search(masked.format("certificate"), domains)


def test_domains_and_their_certificates(ada: Browser, web: None) -> None:
    address, issued = f"{SETTINGS}/domains", Authority().issue("web.example.com")
    html = ada.refused(address, "save", domains="web.example.com\nhttp://x")
    assert problem(html, "domains").startswith("Entry 2: give the host name alone")
    html = ada.done(address, "save", domains="web.example.com\nwww.example.com")
    assert html.count("No certificate: served by HTTP only") == 2
    pem, key = issued.certificate.decode(), issued.key.decode()
    sent = {"domain": "www.example.com", "certificate": pem, "key": key}
    html = ada.refused(address, "set-certificate", **sent)
    assert "does not name www.example.com" in problem(html, "certificate").lower()
    assert "BEGIN CERTIFICATE" in html
    assert "PRIVATE KEY" not in html
    html = ada.done(address, "set-certificate", **sent | {"domain": "web.example.com"})
    assert "Certificate until " in html
    html = ada.done(address, "remove-certificate", domain="web.example.com")
    assert "Certificate until " not in html


def test_a_repositorys_token_and_webhook_secret_are_renewed(
    ada: Browser, web: None, runtime: WebRuntime
) -> None:
    address = f"{SETTINGS}/repository"
    repository = {"id": str(view(runtime).repository_id)}
    assert "one word" in problem(
        ada.refused(address, "set-token", **repository, token="a b"), "token"
    )
    html = ada.done(address, "set-token", **repository, token=SECRET)
    assert "One is set" in html
    assert SECRET not in html
    assert "None of its own" in ada.done(address, "remove-token", **repository)
    assert problem(
        ada.refused(address, "rotate-secret", **repository, overlap_hours="-1"), "overlap_hours"
    )
    answer = ada.send(address, "rotate-secret", **repository, overlap_hours="2")
    found = re.search(r'aria-label="Secret"><code>([^<]{20,})<', answer.text)
    assert found
    html = ada.page(address)
    assert found[1] not in html
    assert re.search(
        r'The one before verifies as well for another <time datetime="[^"]+Z" '
        r'title="[^"]+ UTC" data-until>[12] h \d+ min</time>',
        html,
    )
    assert "verifies as well for" not in ada.done(address, "end-older", **repository)


def test_a_repositorys_own_secret_is_dropped_for_the_global_one(
    ada: Browser, web: None, runtime: WebRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.api.hooks.PATIENCE_S", 0.2)
    address = f"{SETTINGS}/repository"
    repository = {"id": str(view(runtime).repository_id)}
    assert "Drop its own secret</button>" in ada.page(address)
    html = ada.done(address, "drop-secret", **repository)
    assert "no secret of its own: KEYSTONE_WEBHOOK_SECRET verifies." in html
    assert GLOBAL_SECRET.get_secret_value() not in html
    # Neither has anything to work with, nor has a secret before the next one.
    assert "Drop its own secret" not in html
    assert "Install it on GitHub" not in html
    ada.refused(address, "install-hook", 503)  # by a page that was drawn before
    assert '<input type="hidden" name="overlap_hours" value="0">' in html
    assert ada.send(address, "rotate-secret", **repository, overlap_hours="0").status_code == 200
    assert "Its secret was set" in ada.page(address)


def test_no_secret_is_dropped_where_nothing_would_verify(web: None, runtime: WebRuntime) -> None:
    address = f"{SETTINGS}/repository"
    repository = {"id": str(view(runtime).repository_id)}
    bare = runtime.settings.model_copy(update={"webhook_secret": SecretStr("")})
    with TestClient(create_app(replace(runtime, settings=bare))) as client:
        ada = browser_of(client, runtime, Role.ADMIN)
        assert "Drop its own secret" not in ada.page(address)
        html = ada.refused(address, "drop-secret", 409, **repository)
        assert "set KEYSTONE_WEBHOOK_SECRET" in html
        with runtime.database.writing() as session:
            row = session.get_one(Repository, int(repository["id"]))
            drop_webhook_secrets(session, row, TESTER, fallback=GLOBAL_SECRET)
        assert "KEYSTONE_WEBHOOK_SECRET is not set: nothing verifies." in ada.page(address)


def test_a_hook_that_cannot_be_installed_now_says_so(
    ada: Browser, web: None, runtime: WebRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.api.hooks.PATIENCE_S", 0.2)
    ada.refused(f"{SETTINGS}/repository", "install-hook", 503)
    monkeypatch.setattr("receiver.api.questions.MOST_WAITING", -MOST_AT_ONCE)
    html = ada.refused(f"{SETTINGS}/repository", "install-hook", 503)
    assert "Too many are asking the watcher at once" in html


def test_the_certificate_of_keystones_own_address(ada: Browser, web: None) -> None:
    # The tests have it at a name without a dot.
    assert "http://testserver: only a name like" in ada.page("/certificates")


def test_every_certificate_is_listed(runtime: WebRuntime, web: None) -> None:
    url = "http://keystone.example.com"
    settings = runtime.settings.model_copy(update={"public_url": url})
    app = create_app(replace(runtime, settings=settings))
    with TestClient(app, follow_redirects=False) as client:
        ada = browser_of(client, runtime, Role.ADMIN)
        address = "/certificates"
        html = ada.page(address)
        assert "<b>keystone.example.com</b>" in html
        assert "No certificate: served by HTTP only" in html
        issued = Authority().issue("keystone.example.com")
        pem, key = issued.certificate.decode(), issued.key.decode()
        own = {"domain": "keystone.example.com", "certificate": pem, "key": key}
        html = ada.done(address, "set-certificate", **own)
        assert "Certificate until" in html
        assert "domain has a certificate yet" in html
        issued = Authority().issue("*.example.com")
        pem, key = issued.certificate.decode(), issued.key.decode()
        wildcard = {"domain": "*.example.com", "certificate": pem, "key": key}
        html = ada.done(address, "set-certificate", **wildcard)
        assert '<b>*.example.com</b> <span class="tag">no app</span>' in html
        html = ada.done(address, "remove-certificate", domain="keystone.example.com")
        assert "Certificate of *.example.com until" in html


# --- Repositories ----------------------------------------------------------------------------


def test_githubs_id_of_a_repository_is_given_and_forgotten(
    ada: Browser, web: None, runtime: WebRuntime
) -> None:
    address = f"{SETTINGS}/repository"
    repository = {"id": str(view(runtime).repository_id)}
    assert "s id is not known: deliveries" in ada.page(address)
    html = ada.refused(address, "set-github-id", **repository, github_id="many")
    assert "valid integer" in problem(html, "github_id")
    html = ada.done(address, "set-github-id", **repository, github_id="186853002")
    assert "<code>186853002</code>, given by an operator" in html
    html = ada.done(address, "forget-github-id", **repository)
    assert "s id is not known: deliveries" in html
    assert "Forget the id</button>" not in html
    assert tags(runtime).count("repository.identified") == 2


def test_the_page_says_what_the_last_app_takes_along(
    ada: Browser, web: None, runtime: WebRuntime
) -> None:
    make_app(runtime, name="api")
    assert "octo/web stays with its token and webhook" in ada.page(f"{SETTINGS}/remove")
    html = ada.done(f"{SETTINGS}/remove", "remove-app", confirm="web")
    assert "The app is gone." in html
    last = "/apps/api/settings/remove"
    assert "octo/web has no other app: it goes too" in ada.page(last)
    html = ada.done(last, "remove-app", confirm="api")
    assert "its repository with it: remove its webhook on GitHub" in html


def test_that_a_token_stays_behind_is_said(ada: Browser, runtime: WebRuntime) -> None:
    make_app(runtime, token="ghp_own")
    assert "On another server the token is taken away" in ada.page(SETTINGS)
    elsewhere = {"git_url": "https://git.example/octo/web.git"}
    html = ada.done(SETTINGS, "save", **shown(ada.page(SETTINGS)) | elsewhere)
    assert "its token was taken away" in html
    assert "token was taken away" not in ada.done(SETTINGS, "save", **shown(ada.page(SETTINGS)))


def test_repositories_are_listed_and_what_is_left_over_is_removed(
    ada: Browser, web: None, runtime: WebRuntime
) -> None:
    make_app(runtime, name="api", repository="octo/api")
    html = ada.page("/repositories")
    assert '<a class="tag" href="/apps/web/settings/repository">web</a>' in html
    assert "Remove octo/web</button>" not in html
    repository = {"id": str(view(runtime).repository_id)}
    assert "has apps" in ada.refused("/repositories", "remove-repository", 409, **repository)
    with runtime.database.writing() as session:
        session.delete(find_app(session, "web"))
    assert "octo/web</b> <span" in ada.page("/repositories")
    assert "has no app any more" in ada.page("/")
    html = ada.done("/repositories", "remove-repository", **repository)
    assert "octo/web" not in html
    assert "has no app any more" not in ada.page("/")


# --- People ----------------------------------------------------------------------------------


def test_users_are_added_changed_and_removed(ada: Browser) -> None:
    new = {"name": "bob", "role": "viewer"}
    html = ada.refused("/users", "add-user", **new, password="short")
    assert "at least 8" in problem(html, "password")
    assert shown(html)["name"] == "bob"
    assert "short" not in html
    assert "<b>bob</b>" in ada.done("/users", "add-user", **new, password=SECRET)
    html = ada.done("/users", "change-user", name="bob", role="deployer")
    assert '<b>bob</b> <span class="tag">deployer</span>' in html
    assert "disabled</span>" in ada.done("/users", "disable-user", name="bob")
    assert "disabled</span>" not in ada.done("/users", "enable-user", name="bob")
    ada.done("/users", "user-password", name="bob", password=SECRET + "!")
    ada.done("/users", "log-out-user", name="bob")
    assert "Ada is the last admin" in ada.refused("/users", "remove-user", 409, name="ada")
    assert "<b>bob</b>" not in ada.done("/users", "remove-user", name="bob")


def test_a_token_is_shown_once_and_revoked(ada: Browser) -> None:
    new = {"name": "ci", "role": "deployer", "expires_in_days": "30"}
    assert problem(
        ada.refused("/tokens", "add-token", **new | {"expires_in_days": "0"}), "expires_in_days"
    )
    answer = ada.send("/tokens", "add-token", **new)
    value = re.search(r"<code>(ks_[^<]+)</code>", answer.text)
    assert value
    assert value[1] not in ada.page("/tokens")
    assert "already" in ada.refused("/tokens", "add-token", 409, **new)
    assert "Revoked</span>" in ada.done("/tokens", "revoke-token", name="ci")


def test_everybody_changes_their_own_password(client: TestClient, runtime: WebRuntime) -> None:
    make_user(runtime, name="bob", role=Role.VIEWER, password=SECRET)
    client.post("/login", data={"name": "bob", "password": SECRET})
    html = client.get("/account").text
    token = re.search(r'name="csrf_token" value="([^"]+)"', html)
    assert token
    assert "this browser" in html
    bob = Browser(client, token[1])
    wrong = bob.refused("/account", "password", 403, present_password="no", password=SECRET + "!")
    assert problem(wrong, "present_password") == "Is wrong."
    html = bob.done("/account", "password", present_password=SECRET, password=SECRET + "!")
    assert "Your password is changed" in html


# --- Who may, and whether at all -------------------------------------------------------------


@pytest.mark.parametrize("role", [Role.VIEWER, Role.DEPLOYER])
def test_whoever_may_not_configure_sees_no_way_there(
    client: TestClient, web: None, runtime: WebRuntime, role: Role
) -> None:
    them = browser_of(client, runtime, role)
    assert "/settings" not in them.page("/apps/web")
    assert 'href="/users"' not in them.page("/")
    for endpoint in SETTINGS_PAGES:
        if endpoint.needs is Role.ADMIN:
            address = endpoint.path.format(app="web")
            assert "Not for your role" in them.page(address, 403)
            assert them.send(address, "save").status_code == 403


def test_the_settings_pages_can_be_switched_off(web: None, runtime: WebRuntime) -> None:
    settings = runtime.settings.model_copy(update={"settings_pages": False})
    app = create_app(replace(runtime, settings=settings))
    ada = browser_of(TestClient(app, follow_redirects=False), runtime, Role.ADMIN)
    for endpoint in SETTINGS_PAGES:
        address = endpoint.path.format(app="web")
        ada.page(address, 404)
        assert ada.send(address, "save").status_code in {404, 405}
    for address in ("/", "/apps/web"):
        links = re.findall(r'href="([^"]+)"', ada.page(address))
        gone = [endpoint.path.format(app="web") for endpoint in SETTINGS_PAGES]
        assert set(links).isdisjoint(gone)


def test_the_forms_change_nothing_by_a_safe_method() -> None:
    assert {endpoint.method for endpoint in SETTINGS_PAGES} == {"POST"}
    assert not SAFE_METHODS & {endpoint.method for endpoint in SETTINGS_PAGES}
    assert {endpoint.path for endpoint in SETTINGS_PAGES}.isdisjoint(one.path for one in ENDPOINTS)


def test_what_changed_is_on_record_by_name(ada: Browser, web: None, runtime: WebRuntime) -> None:
    ada.done(f"{SETTINGS}/domains", "save", domains="web.example.com")
    with runtime.database.reading() as session:
        event = session.exec(select(AuditEvent).where(AuditEvent.tag == "app.changed")).one()
    assert (event.actor, event.address) == ("user:ada", "testclient")
    details: Mapping[str, object] = event.details
    assert details["after"] == {"domains": ["web.example.com"]}
